package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	// perRound is about how many packets go over the cable in a round; what a round makes fits the ring several times.
	perRound = 10000
	// udpPerRound datagrams go each way, in turns of udpChunk; TCP makes up the rest.
	udpPerRound = 2500
	udpChunk    = 32
	// tcpPerRound bytes go each way, and what is sent and not yet acknowledged never fills the cable's queue of 256 packets
	// (VETH_RING_SIZE, drivers/net/veth.c): nothing is to be dropped.
	tcpPerRound  = 2000 * segmentBytes
	segmentBytes = 536
	windowBytes  = 32 << 10

	// udpPort and tcpPort are those of the west end's sockets; the east end's are one higher.
	udpPort = 7100
	tcpPort = 7200

	socketBytes = 8 << 20
	// longest is far more than anything takes that is not stuck.
	longest = time.Minute
)

// datagrams are a socket that sends and one at the other end that receives.
type datagrams struct {
	out, in *net.UDPConn
	next    uint32 // number of the next one
}

func (d *datagrams) Close() error {
	var errs []error
	for _, c := range []*net.UDPConn{d.out, d.in} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// magic begins each datagram of the soak.
const magic = 0x5eed50a4

// payloadBytes is how long the datagrams are: magic, number, port of the receiver, filling.
const payloadBytes = 48

// open opens the sockets of an end: those by which it receives datagrams from the other end, and accepts connections.
func (f *field) open(end int) error {
	node, from := f.ends[end], f.ends[1-end]
	d := &f.udp[1-end]
	err := f.running.Do(node, func() (err error) {
		if d.in, err = net.ListenUDP("udp4", &net.UDPAddr{Port: udpPort + end}); err != nil {
			return err
		}
		if f.tcp[end], err = listenConfig.Listen(context.Background(), "tcp4", fmt.Sprintf("%s:%d", node.Addr(), tcpPort+end)); err != nil {
			return err
		}
		return d.in.SetReadBuffer(socketBytes)
	})
	if err != nil {
		return fmt.Errorf("open the sockets of %s: %w", node, err)
	}
	err = f.running.Do(from, func() (err error) {
		d.out, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: node.Addr().AsSlice(), Port: udpPort + end})
		return err
	})
	if err != nil {
		return fmt.Errorf("open the sockets of %s: %w", from, err)
	}
	return nil
}

// Small segments make many packets of few bytes, and a small window keeps them few at a time.
var (
	listenConfig = net.ListenConfig{Control: small}
	dialer       = net.Dialer{Control: small, Timeout: longest}
)

func small(_, _ string, c syscall.RawConn) error {
	var err error
	outer := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, segmentBytes),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, windowBytes),
		)
	})
	return errors.Join(outer, err)
}

// round sends everything of a round, all flows at once, and returns when all has been received.
func (f *field) round(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for end := range f.ends {
		g.Go(func() error { return f.udp[end].exchange(udpPerRound) })
		g.Go(func() error { return f.stream(ctx, end) })
	}
	return g.Wait()
}

// numbers are those of the next datagrams, by sender.
func (f *field) numbers() [2]uint32 { return [2]uint32{f.udp[0].next, f.udp[1].next} }

// exchange sends n datagrams, and receives each.
func (d *datagrams) exchange(n int) error {
	if err := d.in.SetReadDeadline(time.Now().Add(longest)); err != nil {
		return err
	}
	port := uint16(d.in.LocalAddr().(*net.UDPAddr).Port)
	buffer := make([]byte, payloadBytes)
	for n > 0 {
		chunk := min(n, udpChunk)
		first := d.next
		for range chunk {
			binary.BigEndian.PutUint32(buffer, magic)
			binary.BigEndian.PutUint32(buffer[4:], d.next)
			binary.BigEndian.PutUint16(buffer[8:], port)
			d.next++
			if _, err := d.out.Write(buffer); err != nil {
				return fmt.Errorf("send a datagram: %w", err)
			}
		}
		for i := range chunk {
			if _, err := io.ReadFull(d.in, buffer); err != nil {
				return fmt.Errorf("receive a datagram, none of which may be dropped: %w", err)
			}
			if number := binary.BigEndian.Uint32(buffer[4:]); number != first+uint32(i) {
				return fmt.Errorf("receive datagram %d: number %d came", first+uint32(i), number)
			}
		}
		n -= chunk
	}
	return nil
}

// stream connects from one end to the other, sends a round's bytes and has them read.
func (f *field) stream(ctx context.Context, from int) (err error) {
	accepted := f.tcp[1-from].(*net.TCPListener)
	if err := accepted.SetDeadline(time.Now().Add(longest)); err != nil {
		return err
	}
	var out net.Conn
	err = f.running.Do(f.ends[from], func() (err error) {
		out, err = dialer.DialContext(ctx, "tcp4", accepted.Addr().String())
		return err
	})
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	in, err := accepted.Accept()
	if err != nil {
		return fmt.Errorf("accept a connection: %w", err)
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	for _, c := range []net.Conn{out, in} {
		if err := c.SetDeadline(time.Now().Add(longest)); err != nil {
			return err
		}
	}
	var g errgroup.Group
	g.Go(func() error {
		chunk := make([]byte, windowBytes)
		for left := tcpPerRound; left > 0; {
			n, err := out.Write(chunk[:min(left, len(chunk))])
			if err != nil {
				return fmt.Errorf("write to a connection: %w", err)
			}
			left -= n
		}
		return out.(*net.TCPConn).CloseWrite()
	})
	n, err := io.Copy(io.Discard, in)
	if err == nil && n != tcpPerRound {
		err = fmt.Errorf("%d bytes came of %d", n, tcpPerRound)
	}
	if err := errors.Join(err, g.Wait()); err != nil {
		return fmt.Errorf("read from a connection: %w", err)
	}
	return nil
}
