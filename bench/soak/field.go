package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/waybill-dev/waybill/topology"
)

// field is the network of the soak: two nodes and a cable, and a node beside them that is not observed.
type field struct {
	ends      [2]*topology.Node
	bystander *topology.Node
	running   *topology.Running
	udp       [2]datagrams // by the end that sends
	tcp       [2]net.Listener
}

const device = "eth0"

// newField brings the network up, with GRO at both ends: the kernel takes a frame's packets together as it receives them.
// What TCP sends is cut into segments before the cable, so that there is something to be taken together; a cable that takes
// segments uncut does without GRO (veth_skb_is_eligible_for_gro, drivers/net/veth.c).
func newField(ctx context.Context) (*field, error) {
	f := &field{}
	var network topology.Network
	for i, name := range []string{"west", "east"} {
		f.ends[i] = network.Add(topology.Node{Name: name, Sysctls: map[string]string{"net.ipv6.conf.all.disable_ipv6": "1"}})
	}
	f.bystander = network.Add(topology.Node{Name: "bystander"})
	network.Connect(f.ends[0], f.ends[1])
	var err error
	if f.running, err = topology.Up(ctx, &network); err != nil {
		return nil, err
	}
	if err := f.setUp(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (f *field) setUp() error {
	for _, end := range f.ends {
		err := f.running.SetFeatures(end, device, map[string]bool{
			"rx-gro": true, "tx-tcp-segmentation": false, "tx-tcp6-segmentation": false, "tx-tcp-ecn-segmentation": false,
			"tx-tcp-mangleid-segmentation": false,
		})
		if err != nil {
			return err
		}
	}
	for i := range f.ends {
		if err := f.open(i); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) cookies() []uint64 {
	return []uint64{f.ends[0].NetNSCookie(), f.ends[1].NetNSCookie()}
}

// Close takes the network down.
func (f *field) Close() error {
	var errs []error
	for i := range f.ends {
		errs = append(errs, f.udp[i].Close())
		if f.tcp[i] != nil {
			errs = append(errs, f.tcp[i].Close())
		}
	}
	return errors.Join(append(errs, f.running.Close())...)
}

// A stage is a way in which packets are received.
type stage struct {
	name  string
	share int // percent of all packets
	// buffers is how many a datagram has at most, one after the other: each is a packet of its own.
	buffers uint8
	// prepare sets the field up for it, and returns what ends that.
	prepare func(*field) (undo func() error, _ error)
}

var stages = []stage{
	{"GRO", 40, 1, func(*field) (func() error, error) { return func() error { return nil }, nil }},
	{"GRO, received by all CPUs in turn", 30, 1, (*field).steer},
	{"XDP: buffers from a pool of pages", 30, 2, (*field).pool},
}

// steer has what arrives be handled by all CPUs, by flow (RPS).
func (f *field) steer() (func() error, error) {
	all := fmt.Sprintf("%x", uint64(1)<<runtime.NumCPU()-1)
	if err := f.setSteering(all); err != nil {
		return nil, err
	}
	return func() error { return f.setSteering("0") }, nil
}

func (f *field) setSteering(mask string) error {
	for _, end := range f.ends {
		if err := f.running.Do(end, func() error { return writeSysfs("class/net/"+device+"/queues/rx-0/rps_cpus", mask) }); err != nil {
			return fmt.Errorf("steer packets of %s: %w", end, err)
		}
	}
	return nil
}

// writeSysfs writes to a file of the sysfs that shows this thread's network namespace. It is mounted nowhere.
func writeSysfs(name, text string) error {
	context, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open sysfs: %w", err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return fmt.Errorf("make sysfs: %w", err)
	}
	mount, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mount sysfs: %w", err)
	}
	defer unix.Close(mount)
	return os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/%s", mount, name), []byte(text), 0)
}

// pool attaches an XDP program that passes everything. With one, the driver copies what has too little room in front, or
// is shared, into pages of a pool, which it uses again as soon as they are free.
func (f *field) pool() (func() error, error) {
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "soak_pass", Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2 /* XDP_PASS */), asm.Return()},
	})
	if err != nil {
		return nil, fmt.Errorf("load an XDP program: %w", err)
	}
	var links []link.Link
	undo := func() error {
		var errs []error
		for _, l := range links {
			errs = append(errs, l.Close())
		}
		return errors.Join(append(errs, program.Close())...)
	}
	for _, end := range f.ends {
		index := f.running.DeviceIndex(end, end.Interfaces()[0].Link)
		err := f.running.Do(end, func() error {
			l, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index})
			if err == nil {
				links = append(links, l)
			}
			return err
		})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("attach an XDP program in %s: %w", end, err), undo())
		}
	}
	return undo, nil
}

// stir has every CPU run a softirq that receives, for a packet that nobody observes.
func (f *field) stir() error {
	return f.running.Do(f.bystander, func() error {
		var allowed unix.CPUSet
		if err := unix.SchedGetaffinity(0, &allowed); err != nil {
			return fmt.Errorf("read this thread's CPUs: %w", err)
		}
		defer func() { _ = unix.SchedSetaffinity(0, &allowed) }()
		socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open a socket: %w", err)
		}
		defer unix.Close(socket)
		const discard = 9
		for cpu := range runtime.NumCPU() {
			var one unix.CPUSet
			one.Set(cpu)
			if err := unix.SchedSetaffinity(0, &one); err != nil {
				return fmt.Errorf("go to CPU %d: %w", cpu, err)
			}
			to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: discard}
			if err := unix.Sendto(socket, []byte("soak"), 0, to); err != nil {
				return fmt.Errorf("send a datagram on CPU %d: %w", cpu, err)
			}
		}
		return nil
	})
}

// counters are what the kernel has counted, of both ends together.
type counters struct {
	requested     uint64 // of IP, to be sent
	sent          uint64 // by the devices, with those for which the other end had no room
	delivered     uint64 // by IP, to TCP and UDP
	segments      uint64 // by TCP; several that were taken together are one
	retransmitted uint64 // by TCP
}

func (c counters) since(earlier counters) counters {
	return counters{
		c.requested - earlier.requested, c.sent - earlier.sent, c.delivered - earlier.delivered, c.segments - earlier.segments,
		c.retransmitted - earlier.retransmitted,
	}
}

func (f *field) counters() (sum counters, _ error) {
	for _, end := range f.ends {
		err := f.running.Do(end, func() error {
			snmp, err := os.ReadFile("/proc/thread-self/net/snmp")
			if err != nil {
				return err
			}
			devices, err := os.ReadFile("/proc/thread-self/net/dev")
			if err != nil {
				return err
			}
			for _, c := range []struct {
				into            *uint64
				protocol, field string
			}{
				{&sum.requested, "Ip:", "OutRequests"}, {&sum.delivered, "Ip:", "InDelivers"}, {&sum.segments, "Tcp:", "InSegs"}, {&sum.retransmitted, "Tcp:", "RetransSegs"},
			} {
				n, err := snmpField(string(snmp), c.protocol, c.field)
				if err != nil {
					return err
				}
				*c.into += n
			}
			n, err := sentBy(string(devices), device)
			sum.sent += n
			return err
		})
		if err != nil {
			return counters{}, fmt.Errorf("read the counters of %s: %w", end, err)
		}
	}
	return sum, nil
}

// snmpField finds a counter in the text of /proc/net/snmp: a line of names, and a line of values.
func snmpField(text, protocol, field string) (uint64, error) {
	var names []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != protocol {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		for i, name := range names {
			if name == field && i < len(fields) {
				return strconv.ParseUint(fields[i], 10, 64)
			}
		}
	}
	return 0, fmt.Errorf("/proc/net/snmp has no %s %s", protocol, field)
}

// sentBy finds in the text of /proc/net/dev what a device sent or could not send: the second and the fourth of the last eight
// numbers.
func sentBy(text, device string) (uint64, error) {
	for line := range strings.Lines(text) {
		name, numbers, ok := strings.Cut(line, ":")
		fields := strings.Fields(numbers)
		if !ok || strings.TrimSpace(name) != device || len(fields) != 16 {
			continue
		}
		packets, err := strconv.ParseUint(fields[9], 10, 64)
		if err != nil {
			return 0, err
		}
		dropped, err := strconv.ParseUint(fields[11], 10, 64)
		return packets + dropped, err
	}
	return 0, fmt.Errorf("/proc/net/dev has no line for %s", device)
}
