package eventfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
)

// decoder decodes lines. Most sections of an event are, letter by letter, those of an event shortly before, of the same packet or at
// the same place: what was decoded is kept for some time, which makes reading several times as fast. What a decoder returns is
// shared, and must not be changed.
type decoder struct {
	task     kept[task]
	kernel   kept[kernel]
	tracking kept[tracking]
	drop     kept[drop]
	packet   kept[packet]
	skb      kept[skb]
	netns    kept[netns]
	device   kept[device]
	nft      kept[nft]
	ct       kept[ct]
	waybill  kept[more]
}

// kept are sections of one kind, by their text.
type kept[T any] map[string]*T

// mostKept bounds how many are kept of a kind, and longestKept how long their texts are: together some megabytes.
const (
	mostKept    = 1024
	longestKept = 1024
)

func (k *kept[T]) decode(text []byte, to **T) error {
	if *to != nil {
		return errUnusual // it comes twice
	}
	if known := (*k)[string(text)]; known != nil {
		*to = known
		return nil
	}
	*to = new(T)
	if err := json.Unmarshal(text, *to); err != nil {
		return err
	}
	switch {
	case len(text) > longestKept || bytes.HasPrefix(text, []byte(`{"before"`)): // which will not come again
		return nil
	case *k == nil:
		*k = kept[T]{}
	case len(*k) == mostKept:
		clear(*k)
	}
	(*k)[string(text)] = *to
	return nil
}

// decode decodes a line as [json.Unmarshal] does, which it leaves whatever is not as Retis and [Writer] write it.
func (d *decoder) decode(text []byte) (*line, error) {
	l := new(line)
	if d.sections(text, l) {
		return l, nil
	}
	l = new(line)
	if err := json.Unmarshal(text, l); err != nil {
		return nil, err
	}
	return l, nil
}

// sections decodes a line section by section, and says whether it could: each is an object, and comes once.
func (d *decoder) sections(text []byte, l *line) bool {
	text = bytes.Trim(text, " \t\r\n")
	if len(text) < 2 || text[0] != '{' || text[len(text)-1] != '}' {
		return false
	}
	text = text[1:]
	for {
		name, section, after := cutSection(text)
		if section == nil || d.section(name, section, l) != nil {
			return false
		}
		if text = after[1:]; after[0] == '}' {
			return len(text) == 0
		}
	}
}

// cutSection takes "name":{…} off the front of a line, and returns nil if something else is there. What follows begins with a comma
// or a brace.
func cutSection(text []byte) (name, section, after []byte) {
	if len(text) == 0 || text[0] != '"' {
		return nil, nil, nil
	}
	name, text, found := bytes.Cut(text[1:], []byte(`":`))
	if !found || len(text) == 0 || text[0] != '{' {
		return nil, nil, nil
	}
	depth := 0
	for i := 0; i < len(text)-1; i++ {
		switch text[i] {
		case '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				if next := text[i+1]; next != ',' && next != '}' {
					return nil, nil, nil
				}
				return name, text[:i+1], text[i+1:]
			}
		}
	}
	return nil, nil, nil
}

// errUnusual is a section that is left to the library.
var errUnusual = errors.New("unusual")

func (d *decoder) section(name, text []byte, l *line) error {
	switch string(name) {
	case "common":
		return d.common(text, &l.Common)
	case "kernel":
		return d.kernel.decode(text, &l.Kernel)
	case "skb-tracking":
		return d.tracking.decode(text, &l.Tracking)
	case "skb-drop":
		return d.drop.decode(text, &l.Drop)
	case "packet":
		return d.packet.decode(text, &l.Packet)
	case "skb":
		return d.skb.decode(text, &l.SKB)
	case "netns":
		return d.netns.decode(text, &l.NetNS)
	case "dev":
		return d.device.decode(text, &l.Device)
	case "nft":
		return d.nft.decode(text, &l.NFT)
	case "ct":
		return d.ct.decode(text, &l.CT)
	case "waybill":
		return d.waybill.decode(text, &l.Waybill)
	}
	return errUnusual
}

// common decodes the one section that no two events share: {"timestamp":1,"smp_id":2,"task":{…}}.
func (d *decoder) common(text []byte, to **common) error {
	if *to != nil {
		return errUnusual
	}
	c := new(common)
	timestamp, text, ok := cutNumber(text, `{"timestamp":`, 64)
	cpu, text, okCPU := cutNumber(text, `,"smp_id":`, 32)
	text, okTask := bytes.CutPrefix(text, []byte(`,"task":`))
	text, okEnd := bytes.CutSuffix(text, []byte("}"))
	if !ok || !okCPU || !okTask || !okEnd || len(text) == 0 || text[0] != '{' {
		return errUnusual
	}
	number := uint32(cpu)
	c.Timestamp, c.CPU = timestamp, &number
	*to = c
	return d.task.decode(text, &c.Task)
}

// cutNumber takes a name and a number off the front.
func cutNumber(text []byte, name string, bits int) (n uint64, after []byte, ok bool) {
	text, ok = bytes.CutPrefix(text, []byte(name))
	digits := 0
	for digits < len(text) && text[digits] >= '0' && text[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseUint(string(text[:digits]), 10, bits)
	return n, text[digits:], ok && err == nil && (text[0] != '0' || digits == 1)
}
