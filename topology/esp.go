package topology

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
)

// ESP protects packets between the node and another one by IPsec: it stands for the states (security associations) and the
// policies of xfrm that one end needs. The other end has an ESP too, with the same Cipher, Key and ID and the rest the other
// way round. Packets that should be protected and are not are dropped where they arrive.
type ESP struct {
	// Remote is the other end, and Local this one; a nil Local is the node's primary address of the same family.
	Remote, Local Host
	// Tunnel carries whole packets in new ones (tunnel mode), instead of protecting what is behind the IP header (transport
	// mode).
	Tunnel bool
	// Near and Far are subnets: what goes from Near to Far and back is protected, in tunnel mode. Both are empty for packets
	// between Local and Remote themselves.
	Near, Far []string
	// Cipher is how packets are protected; empty for AESGCM.
	Cipher Cipher
	// Key is the key material of both directions in hex, of the length that Cipher needs; empty for keys that follow from the
	// two addresses and ID.
	Key string
	// ID tells several between the same two addresses apart.
	ID uint32
}

// XFRM is a tunnel of [ESP]: what is routed to the device is carried to the other end, which has such a device too.
type XFRM struct {
	// Remote, Local, Cipher, Key and ID are as in [ESP].
	Remote, Local Host
	Cipher        Cipher
	Key           string
	ID            uint32
}

func (XFRM) kind() string { return "xfrm" }

// Cipher is how ESP encrypts and authenticates.
type Cipher string

// The ciphers. NullCipher authenticates only, and leaves packets readable.
const (
	AESGCM     Cipher = "aes-gcm"
	ChaCha20   Cipher = "chacha20-poly1305"
	AESCBC     Cipher = "aes-cbc"
	NullCipher Cipher = "null"
)

// cipher is what the kernel is told: the names of the algorithms in its crypto API, and how many bytes of key each takes. One
// that authenticates too (AEAD) needs no other.
type cipher struct {
	aead, crypt, auth string
	crypting, signing int
}

var ciphers = map[Cipher]cipher{
	"":         {aead: "rfc4106(gcm(aes))", crypting: 16 + 4}, // with the salt
	AESGCM:     {aead: "rfc4106(gcm(aes))", crypting: 16 + 4},
	ChaCha20:   {aead: "rfc7539esp(chacha20,poly1305)", crypting: 32 + 4},
	AESCBC:     {crypt: "cbc(aes)", crypting: 16, auth: "hmac(sha256)", signing: 32},
	NullCipher: {crypt: "ecb(cipher_null)", auth: "hmac(sha256)", signing: 32},
}

// length is how many bytes of key the cipher takes.
func (c cipher) length() int { return c.crypting + c.signing }

// esp is one ESP of a node with all that follows, and the number of the device that it belongs to, 0 for none.
type esp struct {
	ESP
	path          string // of the field that it comes from, within the node
	local, remote netip.Addr
	selectors     []selector
	device        string
	number        uint32
}

// selector is what a policy is about, on the way out.
type selector struct{ from, to netip.Prefix }

// esps are the node's, those of its XFRM devices included. What Validate refuses is left out.
func (node *Node) esps() []esp {
	var all []esp
	for i, e := range node.ESP {
		if one, ok := node.esp(e); ok {
			one.path = fmt.Sprintf("ESP[%d]", i)
			all = append(all, one)
		}
	}
	number := uint32(0)
	for i, device := range node.Devices {
		k, ok := device.Kind.(XFRM)
		if !ok {
			continue
		}
		number++
		if one, ok := node.esp(k.esp()); ok {
			one.path = fmt.Sprintf("Devices[%d].Kind", i)
			one.device, one.number = device.Name, k.ID
			if k.ID == 0 {
				one.number = xfrmNumbers + number
			}
			// Routes decide.
			one.selectors = []selector{
				{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv4Unspecified(), 0)},
				{netip.PrefixFrom(netip.IPv6Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)},
			}
			all = append(all, one)
		}
	}
	return all
}

// xfrmNumbers is where the numbers (if_id) of XFRM devices begin that have no ID.
const xfrmNumbers = 1 << 24

func (k XFRM) esp() ESP {
	return ESP{Remote: k.Remote, Local: k.Local, Tunnel: true, Cipher: k.Cipher, Key: k.Key, ID: k.ID}
}

// esp derives what follows from one ESP.
func (node *Node) esp(e ESP) (esp, bool) {
	if none(e.Remote) || !e.Remote.Addr().IsValid() {
		return esp{}, false
	}
	one := esp{ESP: e, remote: e.Remote.Addr()}
	switch {
	case !none(e.Local):
		one.local = e.Local.Addr()
	case one.remote.Is6():
		one.local = node.Addr6()
	default:
		one.local = node.Addr()
	}
	if !one.local.IsValid() {
		return esp{}, false
	}
	if len(e.Near) == 0 && len(e.Far) == 0 {
		one.selectors = []selector{{
			netip.PrefixFrom(one.local, one.local.BitLen()), netip.PrefixFrom(one.remote, one.remote.BitLen()),
		}}
		return one, true
	}
	one.Tunnel = true
	for _, near := range e.Near {
		for _, far := range e.Far {
			from, err := prefix(near)
			to, err2 := prefix(far)
			if err == nil && err2 == nil && from.Addr().Is4() == to.Addr().Is4() {
				one.selectors = append(one.selectors, selector{from, to})
			}
		}
	}
	return one, true
}

// association is one direction: its SPI and its key. Both ends derive the same.
func (e esp) association(src, dst netip.Addr) (spi uint32, key []byte) {
	length := ciphers[e.Cipher].length()
	if given, err := hex.DecodeString(e.Key); err == nil {
		key = given
	}
	for block := 0; ; block++ {
		sum := sha256.Sum256(fmt.Appendf(nil, "waybill esp %s %s %d %d", src, dst, e.ID, block))
		if block == 0 {
			spi = binary.BigEndian.Uint32(sum[:]) | 0x1000 // those below 256 are reserved (RFC 4303)
			continue
		}
		if len(key) >= length {
			return spi, key[:length]
		}
		key = append(slices.Clip(key), sum[:]...)
	}
}

// checkESP reports what is wrong with the node's ESP, that of a device included.
func (c *checker) checkESP(path string, e ESP) {
	c.checkEnds(path, e.Remote, e.Local, false)
	known, ok := ciphers[e.Cipher]
	if !ok {
		c.fault(path+".Cipher", "%q is no cipher: give a constant such as topology.AESGCM, or none", e.Cipher)
	} else if key, err := hex.DecodeString(e.Key); e.Key != "" && (err != nil || len(key) != known.length()) {
		c.fault(path+".Key", "%q is no key for this cipher: give %d bytes in hex", e.Key, known.length())
	}
	if (len(e.Near) == 0) != (len(e.Far) == 0) {
		c.fault(path, "one of Near and Far is empty: give both, or none for packets between the two ends themselves")
	}
	families := map[bool]bool{}
	for _, side := range []struct {
		name     string
		prefixes []string
	}{{"Near", e.Near}, {"Far", e.Far}} {
		for i, text := range side.prefixes {
			p, err := prefix(text)
			if err != nil {
				c.fault(fmt.Sprintf("%s.%s[%d]", path, side.name, i), "%v", err)
				continue
			}
			if side.name == "Near" {
				families[p.Addr().Is6()] = true
			} else if len(families) > 0 && !families[p.Addr().Is6()] {
				c.fault(fmt.Sprintf("%s.Far[%d]", path, i), "%s has no counterpart of its family in Near: give one", text)
			}
		}
	}
}

// checkESPs reports several that cannot be told apart: the kernel finds a state by its SPI and destination.
func (c *checker) checkESPs(path string) {
	type key struct {
		spi uint32
		dst netip.Addr
	}
	seen, numbers := map[key]string{}, map[uint32]string{}
	for _, e := range c.node.esps() {
		spi, _ := e.association(e.local, e.remote)
		if earlier, taken := seen[key{spi, e.remote}]; taken {
			c.fault(path+"."+e.path, "it is between the same two addresses as %s: give one an ID", earlier)
		}
		seen[key{spi, e.remote}] = e.path
		if earlier, taken := numbers[e.number]; taken && e.number != 0 {
			c.fault(path+"."+e.path, "it has the ID of %s: give it another", earlier)
		}
		numbers[e.number] = e.path
	}
}
