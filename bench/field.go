package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/topology"
)

// functions are those that the flood is observed at. A datagram comes by all of them once, but for ip_forward: among the
// functions that users name, some are idle. It comes by nf_hook_slow because AppArmor hooks into every namespace, as on
// Debian's kernels; where it does not, an event less is expected.
var functions = []string{
	"ip_send_skb", "__ip_local_out", "ip_output", "__dev_queue_xmit", "dev_hard_start_xmit", "veth_xmit", // the way out
	"eth_type_trans", "ip_rcv", "ip_forward", "nf_hook_slow", "ip_local_deliver", // the way in
	"udp_queue_rcv_one_skb", "__udp_enqueue_schedule_skb", "skb_consume_udp",
}

const (
	floodPort = 4242
	// socketBytes holds many times a chunk, so that no datagram is ever dropped at a socket.
	socketBytes = 8 << 20
	// chunk is how many datagrams the sender sends before it reads them.
	chunk = 32
	// payloadBytes is the size of a datagram's data.
	payloadBytes = 64
)

// field is the network of the flood, and its sender.
type field struct {
	client, server *topology.Node
	running        *topology.Running
	sender         *exec.Cmd
	orders         io.WriteCloser
	answers        *bufio.Reader
}

// newField brings up two namespaces with a cable between them, and starts the sender. The caller must Close it.
func newField(ctx context.Context) (*field, error) {
	f := &field{}
	if err := f.setUp(ctx); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *field) setUp(ctx context.Context) (err error) {
	var network topology.Network
	f.client = network.Add(topology.Node{Name: "client"})
	f.server = network.Add(topology.Node{Name: "server"})
	network.Connect(f.client, f.server)
	if f.running, err = topology.Up(ctx, &network); err != nil {
		return err
	}
	if err := f.silence(); err != nil {
		return err
	}
	out, err := f.socket(f.client)
	if err != nil {
		return err
	}
	defer out.Close()
	in, err := f.socket(f.server)
	if err != nil {
		return err
	}
	defer in.Close()
	to := &unix.SockaddrInet4{Port: floodPort, Addr: f.server.Addr().As4()}
	if err := unix.Bind(int(in.Fd()), &unix.SockaddrInet4{Port: floodPort}); err != nil {
		return fmt.Errorf("bind the receiving socket: %w", err)
	}
	if err := unix.Connect(int(out.Fd()), to); err != nil {
		return fmt.Errorf("connect the sending socket: %w", err)
	}
	return f.startSender(ctx, out, in)
}

// silence turns IPv6 off, which sends multicast listener reports at its own times.
func (f *field) silence() error {
	for _, node := range []*topology.Node{f.client, f.server} {
		err := f.running.Do(node, func() error {
			return os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0)
		})
		if err != nil {
			return fmt.Errorf("turn IPv6 off in %s: %w", node, err)
		}
	}
	return nil
}

// socket opens a datagram socket in a node. What waits for it does so for ten seconds at most.
func (f *field) socket(node *topology.Node) (*os.File, error) {
	var fd int
	err := f.running.Do(node, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open a socket in %s: %w", node, err)
	}
	file := os.NewFile(uintptr(fd), "socket in "+node.Name)
	for _, option := range []int{unix.SO_RCVBUFFORCE, unix.SO_SNDBUFFORCE} {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, socketBytes); err != nil {
			return nil, errors.Join(fmt.Errorf("size the buffers of a socket in %s: %w", node, err), file.Close())
		}
	}
	patience := unix.Timeval{Sec: 10}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience); err != nil {
		return nil, errors.Join(fmt.Errorf("bound the wait of a socket in %s: %w", node, err), file.Close())
	}
	return file, nil
}

func (f *field) startSender(ctx context.Context, out, in *os.File) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this executable: %w", err)
	}
	f.sender = exec.CommandContext(ctx, self, "send") // ends by itself when there can be no more orders
	f.sender.ExtraFiles, f.sender.Stderr = []*os.File{out, in}, os.Stderr
	if f.orders, err = f.sender.StdinPipe(); err != nil {
		return fmt.Errorf("start the sender: %w", err)
	}
	answers, err := f.sender.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start the sender: %w", err)
	}
	f.answers = bufio.NewReader(answers)
	if err := f.sender.Start(); err != nil {
		f.sender = nil
		return fmt.Errorf("start the sender: %w", err)
	}
	return f.flood(1) // the neighbour is known after this
}

// flood has the sender send n datagrams, and returns when the receiving socket has got all.
func (f *field) flood(n int) error {
	if err := binary.Write(f.orders, binary.LittleEndian, uint32(n)); err != nil {
		return fmt.Errorf("order %d datagrams: %w", n, err)
	}
	if _, err := f.answers.ReadByte(); err != nil {
		return fmt.Errorf("wait for %d datagrams: %w", n, err)
	}
	return nil
}

// cookies are those of the flood's namespaces.
func (f *field) cookies() []uint64 {
	return []uint64{f.client.NetNSCookie(), f.server.NetNSCookie()}
}

// Close ends the sender and takes the network down.
func (f *field) Close() error {
	var errs []error
	if f.orders != nil {
		errs = append(errs, f.orders.Close())
	}
	if f.sender != nil {
		errs = append(errs, f.sender.Wait())
	}
	if f.running != nil {
		errs = append(errs, f.running.Close())
	}
	return errors.Join(errs...)
}
