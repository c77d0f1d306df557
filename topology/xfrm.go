package topology

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// addESP gives the kernel the states and policies of the node.
func (rn *runningNode) addESP() error {
	esps := rn.node.esps()
	if len(esps) == 0 {
		return nil
	}
	handle, err := rn.openXFRM()
	if err != nil {
		return fmt.Errorf("open socket for IPsec: %w", unsupported(err, "IPsec", "xfrm_user"))
	}
	defer handle.Close()
	for i, e := range esps {
		for _, s := range e.states(i + 1) {
			if err := rn.requestOf(unix.NETLINK_XFRM, nl.XFRM_MSG_NEWSA, unix.NLM_F_CREATE|unix.NLM_F_EXCL, s.parts()...); err != nil {
				if errors.Is(err, unix.ENOSYS) {
					err = &UnsupportedError{Feature: "cipher " + s.algorithms(), Module: "of crypto", Err: err}
				}
				return fmt.Errorf("%s: add state from %s to %s: %w", e.path, s.src, s.dst, unsupported(err, "ESP", "esp4 and esp6"))
			}
		}
		for _, policy := range e.policies(i + 1) {
			if err := handle.XfrmPolicyAdd(policy); err != nil {
				return fmt.Errorf("%s: add policy for %s to %s, %s: %w", e.path, policy.Src, policy.Dst, policy.Dir, err)
			}
		}
	}
	return nil
}

// openXFRM opens a socket for IPsec. The main handle has none, because it cannot be had where xfrm is not there.
func (rn *runningNode) openXFRM() (handle *netlink.Handle, err error) {
	err = rn.ns.Do(func() error {
		handle, err = netlink.NewHandle(unix.NETLINK_XFRM)
		return err
	})
	return handle, err
}

func (e esp) mode() netlink.Mode {
	if e.Tunnel {
		return netlink.XFRM_MODE_TUNNEL
	}
	return netlink.XFRM_MODE_TRANSPORT
}

// espState is one direction as the kernel takes it.
type espState struct {
	cipher
	src, dst     netip.Addr
	spi, request uint32
	key          []byte
	mode         netlink.Mode
	number       uint32
}

// states are those of the two directions, the way out first. The request ID ties them to their policies.
func (e esp) states(request int) []espState {
	states := make([]espState, 2)
	for i := range states {
		src, dst := e.local, e.remote
		if i == 1 {
			src, dst = dst, src
		}
		spi, key := e.association(src, dst)
		states[i] = espState{ciphers[e.Cipher], src, dst, spi, uint32(request), key, e.mode(), e.number}
	}
	return states
}

// parts are those of a request for the state. The netlink library's own cannot say that packets of either family may be in
// the tunnel.
func (s espState) parts() []nl.NetlinkRequestData {
	message := &nl.XfrmUsersaInfo{}
	message.Family = uint16(nl.GetIPFamily(s.dst.AsSlice()))
	message.Id.Daddr.FromIP(s.dst.AsSlice())
	message.Id.Proto, message.Id.Spi = unix.IPPROTO_ESP, nl.Swap32(s.spi)
	message.Saddr.FromIP(s.src.AsSlice())
	message.Mode, message.Reqid, message.ReplayWindow = uint8(s.mode), s.request, 32
	message.Flags = nl.XFRM_STATE_AF_UNSPEC
	for _, limit := range []*uint64{&message.Lft.SoftByteLimit, &message.Lft.HardByteLimit, &message.Lft.SoftPacketLimit,
		&message.Lft.HardPacketLimit} {
		*limit = nl.XFRM_INF
	}
	parts := []nl.NetlinkRequestData{message}
	if s.aead != "" {
		algorithm := &nl.XfrmAlgoAEAD{AlgKeyLen: uint32(len(s.key) * 8), AlgICVLen: icvBits, AlgKey: s.key}
		copy(algorithm.AlgName[:], s.aead)
		parts = append(parts, nl.NewRtAttr(nl.XFRMA_ALG_AEAD, algorithm.Serialize()))
	} else {
		crypting, signing := s.key[:s.crypting], s.key[s.crypting:]
		crypt := &nl.XfrmAlgo{AlgKeyLen: uint32(len(crypting) * 8), AlgKey: crypting}
		copy(crypt.AlgName[:], s.crypt)
		auth := &nl.XfrmAlgoAuth{AlgKeyLen: uint32(len(signing) * 8), AlgTruncLen: icvBits, AlgKey: signing}
		copy(auth.AlgName[:], s.auth)
		parts = append(parts, nl.NewRtAttr(nl.XFRMA_ALG_CRYPT, crypt.Serialize()),
			nl.NewRtAttr(nl.XFRMA_ALG_AUTH_TRUNC, auth.Serialize()))
	}
	if s.number != 0 {
		parts = append(parts, nl.NewRtAttr(nl.XFRMA_IF_ID, nl.Uint32Attr(s.number)))
	}
	return parts
}

// icvBits is the length of what authenticates a packet.
const icvBits = 128

// policies are those of each selector: out, in, and in tunnel mode for packets that the node passes on.
func (e esp) policies(request int) []*netlink.XfrmPolicy {
	var policies []*netlink.XfrmPolicy
	for _, s := range e.selectors {
		for _, dir := range []netlink.Dir{netlink.XFRM_DIR_OUT, netlink.XFRM_DIR_IN, netlink.XFRM_DIR_FWD} {
			if dir == netlink.XFRM_DIR_FWD && !e.Tunnel {
				continue
			}
			template := netlink.XfrmPolicyTmpl{
				Src: e.local.AsSlice(), Dst: e.remote.AsSlice(), Proto: netlink.XFRM_PROTO_ESP, Mode: e.mode(), Reqid: request,
			}
			policy := &netlink.XfrmPolicy{Src: ipNet(s.from), Dst: ipNet(s.to), Dir: dir, Ifid: int(e.number)}
			if dir != netlink.XFRM_DIR_OUT {
				template.Src, template.Dst = template.Dst, template.Src
				policy.Src, policy.Dst = policy.Dst, policy.Src
			}
			policy.Tmpls = []netlink.XfrmPolicyTmpl{template}
			policies = append(policies, policy)
		}
	}
	return policies
}

// algorithms names what a state encrypts and signs with.
func (c cipher) algorithms() string {
	if c.aead != "" {
		return c.aead
	}
	return c.crypt + " with " + c.auth
}
