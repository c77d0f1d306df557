package topology

import "net"

const (
	// maxLinks keeps the third octet, which begins at firstOctet, well below 255.
	maxLinks   = 200
	firstOctet = 42
)

// MAC is an Ethernet address.
type MAC [6]byte

// String prints the address as 02:00:ac:10:2a:01.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

const minMTU4, minMTU6 = 68, 1280
