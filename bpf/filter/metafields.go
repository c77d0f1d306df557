package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/waybill-dev/waybill/internal/nearest"
)

// resolver finds out what the fields of terms are, by the types of the kernel and of its modules.
type resolver struct {
	types Types
}

func (r *resolver) resolveAll(n metaNode) error {
	switch n := n.(type) {
	case metaAnd:
		return r.resolveBoth(n.left, n.right)
	case metaOr:
		return r.resolveBoth(n.left, n.right)
	case metaNot:
		return r.resolveAll(n.operand)
	case *metaTerm:
		return r.resolve(n)
	}
	return nil
}

func (r *resolver) resolveBoth(left, right metaNode) error {
	if err := r.resolveAll(left); err != nil {
		return err
	}
	return r.resolveAll(right)
}

// field is a member of a struct or union, with the ones in the middle that have no names.
type field struct {
	member btf.Member
	offset btf.Bits
	typ    btf.Type // without typedefs and qualifiers
}

// resolve follows the fields of a term from struct sk_buff on.
func (r *resolver) resolve(t *metaTerm) error {
	current, err := r.composite("sk_buff", t.span)
	if err != nil {
		return err
	}
	offset := btf.Bits(0)
	for i, step := range t.steps {
		f, err := findField(current, step)
		if err != nil {
			return err
		}
		offset += f.offset
		if i == len(t.steps)-1 && step.cast.text == "" {
			return t.compare(f, offset, step)
		}
		next, isPointer, err := r.follow(f, step, i == len(t.steps)-1)
		if err != nil {
			return err
		}
		current = next
		if isPointer {
			h := hop{offset: offset.Bytes(), mask: ^uint64(0)}
			if step.mask != nil {
				if h.mask, err = step.mask.of(64); err != nil {
					return err
				}
			}
			t.hops, offset = append(t.hops, h), 0
		}
	}
	return nil
}

// findField finds a member of a struct or union, or refuses with those that there are.
func findField(of btf.Type, step metaStep) (field, error) {
	var found *field
	var names []string
	eachField(of, 0, func(m btf.Member, offset btf.Bits) {
		names = append(names, m.Name)
		if m.Name == step.name && found == nil {
			found = &field{m, offset, btf.UnderlyingType(m.Type)}
		}
	})
	if found == nil {
		return field{}, refuse(step.span, "%s has no field %q: it has %s", typeName(of), step.name, listFields(step.name, names))
	}
	return *found, nil
}

// eachField goes through members, and through those of members that have no name.
func eachField(of btf.Type, base btf.Bits, each func(btf.Member, btf.Bits)) {
	for _, m := range membersOf(of) {
		if m.Name == "" {
			eachField(btf.UnderlyingType(m.Type), base+m.Offset, each)
		} else {
			each(m, base+m.Offset)
		}
	}
}

func membersOf(t btf.Type) []btf.Member {
	switch t := t.(type) {
	case *btf.Struct:
		return t.Members
	case *btf.Union:
		return t.Members
	}
	return nil
}

// mostListed is how many fields are listed.
const mostListed = 12

// listFields begins with those that a name resembles.
func listFields(name string, fields []string) string {
	near := nearest.Names(name, slices.Values(fields))
	list := slices.Clone(near)
	for _, f := range fields {
		if !slices.Contains(near, f) {
			list = append(list, f)
		}
	}
	if len(list) > mostListed {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:mostListed-1], ", "), len(list)-mostListed+1)
	}
	return strings.Join(list, ", ")
}

// follow is what the fields after this one are of; isPointer says that it is somewhere else in memory.
func (r *resolver) follow(f field, step metaStep, last bool) (next btf.Type, isPointer bool, err error) {
	if step.cast.text != "" {
		if size, err := btf.Sizeof(f.typ); err != nil || size != 8 || f.member.BitfieldSize > 0 || membersOf(f.typ) != nil {
			return nil, false, refuse(step.span, "%s is %s, which cannot hold an address", step.name, f.shown())
		}
		next, err = r.composite(step.cast.text, step.cast.span)
		if err == nil && last {
			err = refuse(step.cast.span, "write which field of %s, as in %[1]s.%[2]s", step.cast.text, firstField(next))
		}
		return next, true, err
	}
	switch typ := f.typ.(type) {
	case *btf.Struct, *btf.Union:
		if step.mask != nil {
			return nil, false, refuse(step.mask.span, "%s is %s: a mask is for numbers and addresses", step.name, f.shown())
		}
		return typ, false, nil
	case *btf.Pointer:
		switch target := btf.UnderlyingType(typ.Target).(type) {
		case *btf.Struct, *btf.Union:
			return target, true, nil
		case *btf.Fwd:
			next, err = r.composite(target.Name, step.span)
			return next, true, err
		}
	}
	return nil, false, refuse(step.span, "%s is %s, which has no fields; if it is an address, write of what, "+
		"as in sk_buff._nfct:~0x7:nf_conn", step.name, f.shown())
}

func firstField(of btf.Type) (name string) {
	eachField(of, 0, func(m btf.Member, _ btf.Bits) {
		if name == "" {
			name = m.Name
		}
	})
	return name
}

// composite finds a struct or a union by its name: in the kernel, or in a module.
func (r *resolver) composite(name string, where span) (btf.Type, error) {
	kernel, err := r.types.Kernel()
	if err != nil {
		return nil, fmt.Errorf("read the types of the kernel: %w", err)
	}
	if t := compositeIn(kernel, name); t != nil {
		return t, nil
	}
	modules, err := r.types.Modules()
	if err != nil {
		return nil, fmt.Errorf("list the modules: %w", err)
	}
	for _, m := range modules {
		spec, err := r.types.Module(m)
		if err != nil {
			continue // it has no types, or has been unloaded
		}
		if t := compositeIn(spec, name); t != nil {
			return t, nil
		}
	}
	return nil, refuse(where, "neither the kernel nor a module that is loaded tells what is in a struct %s", name)
}

func compositeIn(spec *btf.Spec, name string) btf.Type {
	types, err := spec.AnyTypesByName(name)
	if err != nil {
		return nil
	}
	for _, t := range types {
		if t = btf.UnderlyingType(t); len(membersOf(t)) > 0 {
			return t
		}
	}
	return nil
}

// shown is the type of a field as C writes it, with an article.
func (f field) shown() string {
	switch f.member.BitfieldSize {
	case 0:
	case 1:
		return "a single bit"
	default:
		return fmt.Sprintf("a field of %d bits", f.member.BitfieldSize)
	}
	text := typeName(f.member.Type)
	if strings.ContainsRune("aeiou", rune(text[0])) && !strings.HasPrefix(text, "union") {
		return "an " + text
	}
	return "a " + text
}

// typeName is a type as C writes it.
func typeName(t btf.Type) string {
	switch t := t.(type) {
	case *btf.Struct:
		return "struct " + orAnonymous(t.Name)
	case *btf.Union:
		return "union " + orAnonymous(t.Name)
	case *btf.Enum:
		return "enum " + orAnonymous(t.Name)
	case *btf.Fwd:
		return "struct " + t.Name
	case *btf.Pointer:
		if _, ok := btf.UnderlyingType(t.Target).(*btf.FuncProto); ok {
			return "function *"
		}
		return strings.TrimSuffix(typeName(t.Target), " ") + " *"
	case *btf.Array:
		return fmt.Sprintf("%s[%d]", typeName(t.Type), t.Nelems)
	case *btf.Const:
		return typeName(t.Type)
	case *btf.Volatile:
		return typeName(t.Type)
	case *btf.Restrict:
		return typeName(t.Type)
	case *btf.TypeTag:
		return typeName(t.Type)
	case *btf.Void:
		return "void"
	}
	return t.TypeName()
}

func orAnonymous(name string) string {
	if name == "" {
		return "without a name"
	}
	return name
}
