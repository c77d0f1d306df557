package topology

import (
	"reflect"
	"strings"
	"time"
	"unicode"
)

// The YAML form of a network follows from the Go form: a field's key is its name in small letters, with underscores between
// words. What is special is said here.

// keys are those that the rule would not make.
var keys = map[string]string{"IPTables": "iptables", "IP6Tables": "ip6tables", "EBTables": "ebtables"}

// keyOf is the key of a field.
func keyOf(field string) string {
	if key, ok := keys[field]; ok {
		return key
	}
	var b strings.Builder
	runes := []rune(field)
	for i, r := range runes {
		// A word begins with a capital behind a small letter, or before one: NoFlood, VLANFiltering.
		if i > 0 && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// kinds are the kinds of devices by their keys.
var kinds = func() map[string]reflect.Type {
	all := make(map[string]reflect.Type)
	for _, kind := range []Kind{Dummy{}, Bridge{}, VLAN{}, MACVLAN{}, IPVLAN{}, VRF{}, Bond{}, VXLAN{}, Geneve{}, GRE{}, GRETAP{},
		IPIP{}, SIT{}, IP6Tunnel{}, WireGuard{}, XFRM{}} {
		all[strings.ToLower(reflect.TypeOf(kind).Name())] = reflect.TypeOf(kind)
	}
	return all
}()

// kindKey is the key of a kind.
func kindKey(kind Kind) string { return strings.ToLower(reflect.TypeOf(kind).Name()) }

var (
	hostType     = reflect.TypeFor[Host]()
	kindType     = reflect.TypeFor[Kind]()
	nodeType     = reflect.TypeFor[*Node]()
	deviceType   = reflect.TypeFor[Device]()
	devicesType  = reflect.TypeFor[[]Device]()
	programType  = reflect.TypeFor[Program]()
	durationType = reflect.TypeFor[time.Duration]()
)

// textFields are the fields of a node that may name a file.
var textFields = map[string]bool{"NFT": true, "IPTables": true, "IP6Tables": true, "EBTables": true, "TC": true}

// fields are those of a struct that the YAML form has, by their keys, in order.
func fields(t reflect.Type) (names []string, byKey map[string]reflect.StructField) {
	byKey = make(map[string]reflect.StructField)
	for field := range t.Fields() {
		switch {
		case !field.IsExported(), field.Type == kindType, t == programType && field.Name == "Loaded":
			continue // not for a file, or by another key
		case t == nodeType.Elem() && field.Name == "Name":
			continue // it is the key of the node
		}
		key := keyOf(field.Name)
		names = append(names, key)
		byKey[key] = field
	}
	return names, byKey
}
