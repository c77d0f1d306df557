package topology

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ipsec adds states and policies. A kernel without IPsec has none.
func (d *dumper) ipsec() error {
	handle, err := d.openXFRM()
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open socket for IPsec: %w", err)
	}
	defer handle.Close()
	states, err := handle.XfrmStateList(netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list IPsec states: %w", err)
	}
	flags, err := d.stateFlags()
	if err != nil {
		return fmt.Errorf("list IPsec states: %w", err)
	}
	slices.SortFunc(states, func(a, b netlink.XfrmState) int {
		return cmp.Or(cmp.Compare(a.Reqid, b.Reqid), cmp.Compare(a.Spi, b.Spi))
	})
	for _, s := range states {
		if s.Spi != 0 { // or somebody waits for a key
			d.ip(stateWords(s, flags[uint32(s.Spi)])...)
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		policies, err := handle.XfrmPolicyList(family)
		if err != nil {
			return fmt.Errorf("list IPsec policies: %w", err)
		}
		slices.SortFunc(policies, func(a, b netlink.XfrmPolicy) int { return cmp.Compare(a.Index, b.Index) })
		for _, p := range policies {
			if p.Dir <= netlink.XFRM_DIR_FWD { // or it is a socket's own
				d.ip(policyWords(p)...)
			}
		}
	}
	return nil
}

// stateFlags are those of IPsec states by their SPI, which the netlink library does not tell.
func (d *dumper) stateFlags() (map[uint32]uint8, error) {
	flags := make(map[uint32]uint8)
	err := d.ns.Do(func() error {
		answers, err := nl.NewNetlinkRequest(nl.XFRM_MSG_GETSA, unix.NLM_F_DUMP).Execute(unix.NETLINK_XFRM, nl.XFRM_MSG_NEWSA)
		for _, answer := range answers {
			info := nl.DeserializeXfrmUsersaInfo(answer)
			flags[nl.Swap32(info.Id.Spi)] = info.Flags
		}
		return err
	})
	return flags, err
}

// stateWords is the command that adds a state.
func stateWords(s netlink.XfrmState, flags uint8) []string {
	words := []string{"xfrm", "state", "add", "src", s.Src.String(), "dst", s.Dst.String(), "proto", s.Proto.String(),
		"spi", fmt.Sprintf("%#x", s.Spi), "reqid", strconv.Itoa(s.Reqid), "mode", s.Mode.String(),
		"replay-window", strconv.Itoa(s.ReplayWindow)}
	if flags&nl.XFRM_STATE_AF_UNSPEC != 0 {
		words = append(words, "flag", "af-unspec")
	}
	key := func(key []byte) string {
		if len(key) == 0 {
			return "" // that of the cipher that does not encrypt
		}
		return fmt.Sprintf("%#x", key)
	}
	if s.Aead != nil {
		words = append(words, "aead", s.Aead.Name, key(s.Aead.Key), strconv.Itoa(s.Aead.ICVLen))
	}
	if s.Auth != nil {
		words = append(words, "auth-trunc", s.Auth.Name, key(s.Auth.Key), strconv.Itoa(s.Auth.TruncateLen))
	}
	if s.Crypt != nil {
		words = append(words, "enc", s.Crypt.Name, key(s.Crypt.Key))
	}
	if s.Ifid != 0 {
		words = append(words, "if_id", strconv.Itoa(s.Ifid))
	}
	return words
}

// policyWords is the command that adds a policy.
func policyWords(p netlink.XfrmPolicy) []string {
	words := []string{"xfrm", "policy", "add", "src", p.Src.String(), "dst", p.Dst.String(),
		"dir", strings.TrimPrefix(p.Dir.String(), "dir ")}
	if p.Priority != 0 {
		words = append(words, "priority", strconv.Itoa(p.Priority))
	}
	if p.Ifid != 0 {
		words = append(words, "if_id", strconv.Itoa(p.Ifid))
	}
	for _, t := range p.Tmpls {
		words = append(words, "tmpl", "src", t.Src.String(), "dst", t.Dst.String(), "proto", t.Proto.String(),
			"reqid", strconv.Itoa(t.Reqid), "mode", t.Mode.String())
	}
	return words
}

// wireGuards adds keys and peers of WireGuard devices.
func (d *dumper) wireGuards() error {
	for _, l := range d.links {
		if l.kind != "wireguard" {
			continue
		}
		state, err := d.wireGuardState(l.Index)
		if err != nil {
			return fmt.Errorf("read the keys and peers of %s: %w", l.Name, err)
		}
		d.give(state.config(), d.inside("wg", "setconf", l.Name, "/dev/stdin")...)
	}
	return nil
}

// config is the device as wg setconf reads it.
func (s wireGuardState) config() string {
	var b strings.Builder
	line := func(wanted bool, name, value string) {
		if wanted {
			fmt.Fprintf(&b, "%s = %s\n", name, value)
		}
	}
	b.WriteString("[Interface]\n")
	line(s.private != nil, "PrivateKey", base64.StdEncoding.EncodeToString(s.private))
	line(s.port != 0, "ListenPort", strconv.Itoa(int(s.port)))
	line(s.mark != 0, "FwMark", strconv.Itoa(int(s.mark)))
	for _, p := range s.peers {
		b.WriteString("[Peer]\n")
		line(true, "PublicKey", base64.StdEncoding.EncodeToString(p.public))
		line(!isZero(p.preshared), "PresharedKey", base64.StdEncoding.EncodeToString(p.preshared))
		var allowed []string
		for _, prefix := range p.allowed {
			allowed = append(allowed, prefix.String())
		}
		line(len(allowed) > 0, "AllowedIPs", strings.Join(allowed, ", "))
		line(p.endpoint.IsValid(), "Endpoint", p.endpoint.String())
		line(p.keepalive != 0, "PersistentKeepalive", strconv.Itoa(int(p.keepalive/time.Second)))
	}
	return b.String()
}
