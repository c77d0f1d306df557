package filter

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
)

// comparer is how a term is decided: which memory is read, and what it is compared with.
type comparer struct {
	hops   []hop  // addresses to follow, from the sk_buff on
	offset uint32 // of what is read, in bytes
	size   uint32 // of what is read, in bytes
	shift  uint32 // of the field in what is read, in bits
	bits   uint32 // of the field
	signed bool
	mask   uint64 // all ones if there is none
	jump   asm.JumpOp
	number uint64

	text     []byte // with the zero at its end; nil: a number is compared
	indirect bool   // the field is the text's address
}

// hop is an address to follow.
type hop struct {
	offset uint32 // in bytes
	mask   uint64
}

// of returns the mask for a field of so many bits.
func (m *maskToken) of(bits uint32) (uint64, error) {
	full := ^uint64(0) >> (64 - bits)
	mask := m.value
	if m.value&^full != 0 {
		return 0, refuse(m.span, "the field has %d bits, and this mask has more", bits)
	}
	if m.inverted {
		mask = ^m.value & full
	}
	if mask == 0 {
		return 0, refuse(m.span, "nothing is left under this mask")
	}
	return mask, nil
}

// compare completes a term by its last field.
func (t *metaTerm) compare(f field, offset btf.Bits, step metaStep) error {
	if t.value.kind == name {
		return t.compareText(f, offset, step)
	}
	size, err := btf.Sizeof(f.typ)
	if err != nil {
		return refuse(step.span, "%s is %s, which cannot be compared", step.name, f.shown())
	}
	t.bits, t.size = 8*uint32(size), uint32(size)
	t.offset = uint32(offset / 8)
	if f.member.BitfieldSize > 0 {
		t.bits, t.shift = uint32(f.member.BitfieldSize), uint32(offset%8)
		t.size = (t.shift + t.bits + 7) / 8
	}
	switch typ := f.typ.(type) {
	case *btf.Int:
		t.signed = typ.Encoding == btf.Signed
	case *btf.Enum:
		t.signed = typ.Signed
	case *btf.Pointer:
	case *btf.Struct, *btf.Union:
		return refuse(step.span, "%s is %s: write which of its fields, %s", step.name, f.shown(), listFields("", fieldNames(typ)))
	case *btf.Array:
		if isText(typ.Type) {
			return refuse(step.span, `%s is %s: compare it with a string, as in == "eth0"`, step.name, f.shown())
		}
		return refuse(step.span, "%s is %s: only arrays of char can be compared", step.name, f.shown())
	default:
		return refuse(step.span, "%s is %s, which cannot be compared", step.name, f.shown())
	}
	if t.size > 8 {
		return refuse(step.span, "%s is %s: numbers of up to 64 bits can be compared", step.name, f.shown())
	}
	t.mask = ^uint64(0) >> (64 - t.bits)
	if step.mask != nil {
		t.signed = false
		if t.mask, err = step.mask.of(t.bits); err != nil {
			return err
		}
	}
	return t.compareNumber(f, step)
}

func fieldNames(of btf.Type) (names []string) {
	eachField(of, 0, func(m btf.Member, _ btf.Bits) { names = append(names, m.Name) })
	return names
}

// isText tells whether the type is a letter's.
func isText(t btf.Type) bool {
	i, ok := btf.UnderlyingType(t).(*btf.Int)
	return ok && i.Size == 1
}

var (
	unsignedJumps = map[string]asm.JumpOp{
		"": asm.JNE, "==": asm.JEq, "!=": asm.JNE, "<": asm.JLT, "<=": asm.JLE, ">": asm.JGT, ">=": asm.JGE,
	}
	signedJumps = map[string]asm.JumpOp{
		"": asm.JNE, "==": asm.JEq, "!=": asm.JNE, "<": asm.JSLT, "<=": asm.JSLE, ">": asm.JSGT, ">=": asm.JSGE,
	}
)

// compareNumber looks whether the number is one that the field can be.
func (t *metaTerm) compareNumber(f field, step metaStep) error {
	t.jump = unsignedJumps[t.operator]
	if t.signed {
		t.jump = signedJumps[t.operator]
	}
	if t.operator == "" {
		return nil
	}
	value, err := t.valueOf(f)
	if err != nil {
		return err
	}
	full := ^uint64(0) >> (64 - t.bits)
	switch {
	case t.negative && !t.signed:
		return refuse(t.value.span, "%s is %s, which is never negative", step.name, f.shown())
	case t.negative && value > full/2+1, t.signed && !t.negative && value > full/2:
		return refuse(t.value.span, "%s is %s, from %d to %d", step.name, f.shown(), -int64(full/2)-1, full/2)
	case value > full && !t.negative:
		return refuse(t.value.span, "%s is %s, %d at most", step.name, f.shown(), full)
	case value&^t.mask != 0 && !t.signed:
		return refuse(t.value.span, "this has bits outside of the mask %#x", t.mask)
	case t.negative:
		value = -value
	}
	t.number = value
	return nil
}

// valueOf is the number that the value is, or that its name stands for.
func (t *metaTerm) valueOf(f field) (uint64, error) {
	if t.value.kind == number {
		return parseNumber(t.value)
	}
	enum, ok := f.typ.(*btf.Enum)
	if !ok {
		return 0, refuse(t.value.span, "%s is no number, and strings are in quotes", t.value.shown())
	}
	names := make(map[string]uint64)
	for _, v := range enum.Values {
		names[v.Name] = v.Value
	}
	value, ok := names[t.value.text]
	if !ok {
		return 0, refuse(t.value.span, "%s has no %s: it has %s", typeName(enum), t.value.shown(),
			listFields(t.value.text, slices.Sorted(maps.Keys(names))))
	}
	if t.signed && int64(value) < 0 {
		t.negative, value = true, -value
	}
	return value, nil
}

// longestText is how long a string may be, without the zero at its end.
const longestText = 63

func (t *metaTerm) compareText(f field, offset btf.Bits, step metaStep) error {
	t.offset = uint32(offset / 8)
	t.text = append([]byte(t.value.text), 0)
	longest := longestText
	switch typ := f.typ.(type) {
	case *btf.Array:
		if !isText(typ.Type) {
			return refuse(step.span, "%s is %s, and no string", step.name, f.shown())
		}
		longest = min(longest, int(typ.Nelems)-1)
	case *btf.Pointer:
		if !isText(typ.Target) {
			return refuse(step.span, "%s is %s, and no string%s", step.name, f.shown(), textWithin(typ, step))
		}
		t.indirect = true
	default:
		return refuse(step.span, "%s is %s, and no string", step.name, f.shown())
	}
	switch {
	case step.mask != nil:
		return refuse(step.mask.span, "a mask is for numbers and addresses, and not for strings")
	case t.operator != "==" && t.operator != "!=":
		return refuse(t.value.span, "strings are equal or not: write == or !=")
	case len(t.value.text) > longest:
		return refuse(t.value.span, "%s is %s: here a string has %d letters at most", step.name, f.shown(), longest)
	}
	t.jump = unsignedJumps[t.operator]
	return nil
}

// textWithin names a field that may have been meant, if there is a name in what is pointed to.
func textWithin(p *btf.Pointer, step metaStep) string {
	if slices.Contains(fieldNames(btf.UnderlyingType(p.Target)), "name") {
		return fmt.Sprintf(": there is %s.name", step.name)
	}
	return ""
}
