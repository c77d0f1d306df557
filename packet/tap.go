package packet

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// TapOptions says what a tap sees. The zero value sees every frame.
type TapOptions struct {
	// Protocol is the EtherType to see, such as unix.ETH_P_IP; 0 for all (ETH_P_ALL). The kernel treats the two
	// differently: only a tap on all sees what is sent, and it is called before other protocols when a frame arrives.
	Protocol uint16
	// ReceiveBuffer is the size of the socket's receive buffer in bytes, of which bookkeeping takes a good part; 0 for the
	// system's default.
	ReceiveBuffer int
}

// Tap is a packet socket (AF_PACKET, SOCK_RAW): it gets a copy of frames, as a packet analyser does.
type Tap struct {
	socket *socket
	device string
	cookie uint64
}

// OpenTap opens a tap on a device inside a namespace; on all devices if the name is empty. It needs CAP_NET_RAW. The
// caller must Close it.
func OpenTap(in In, device string, options TapOptions) (*Tap, error) {
	t := &Tap{device: device}
	if err := in(func() error { return t.open(options) }); err != nil {
		return nil, errors.Join(fmt.Errorf("open tap on %s: %w", t, err), t.Close())
	}
	return t, nil
}

func (t *Tap) open(options TapOptions) (err error) {
	index := 0
	if t.device != "" {
		device, err := net.InterfaceByName(t.device)
		if err != nil {
			return fmt.Errorf("find device: %w", err)
		}
		index = device.Index
	}
	// Protocol 0 sees nothing: the tap begins with bind, when the buffer has its size and the device is chosen.
	if t.socket, err = openSocket(unix.AF_PACKET, unix.SOCK_RAW, 0); err != nil {
		return err
	}
	fd := t.socket.fd
	if options.ReceiveBuffer != 0 {
		// Not limited by net.core.rmem_max, which would silently give less.
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, options.ReceiveBuffer); err != nil {
			return fmt.Errorf("set receive buffer to %d bytes: %w", options.ReceiveBuffer, err)
		}
	}
	if t.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return fmt.Errorf("read socket cookie: %w", err)
	}
	protocol := options.Protocol
	if protocol == 0 {
		protocol = unix.ETH_P_ALL
	}
	// The kernel takes the number in network byte order.
	wire := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, protocol))
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: wire, Ifindex: index}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// String names what the tap is on.
func (t *Tap) String() string {
	if t.device == "" {
		return "all devices"
	}
	return t.device
}

// Cookie is the SO_COOKIE of the tap's socket.
func (t *Tap) Cookie() uint64 { return t.cookie }

// Receive waits for a frame and returns it from the Ethernet header on. It ends early with the context's error. One
// goroutine at a time may call it.
func (t *Tap) Receive(ctx context.Context) ([]byte, error) {
	buffer := make([]byte, 1<<17) // segments that were merged can be somewhat more than 64 KiB
	n, _, err := t.socket.read(ctx, buffer)
	if err != nil {
		return nil, fmt.Errorf("receive from tap on %s: %w", t, err)
	}
	return buffer[:min(n, len(buffer)):min(n, len(buffer))], nil
}

// Close closes the tap. Calling it again does nothing.
func (t *Tap) Close() error {
	if t.socket == nil {
		return nil
	}
	return t.socket.close()
}
