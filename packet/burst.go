package packet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"
)

// Burst is many packets, sent one after the other.
type Burst struct {
	// Packets are what is sent, in this order; [Repeat] and [Series] make them, and so does [ReadCapture].
	Packets []Packet
	// Rate is how many are sent in a second: packet i leaves i/Rate seconds after the first, or as soon after that as the machine
	// can. [Sent.Before] tells when each did. 0 is one right after the other.
	Rate float64
}

// Repeat is the same packet n times.
func Repeat(n int, p Packet) []Packet {
	return Series(n, func(int) Packet { return p })
}

// Series is n packets, of which each is what of returns for its number, from 0.
func Series(n int, of func(i int) Packet) []Packet {
	packets := make([]Packet, n)
	for i := range packets {
		packets[i] = of(i)
	}
	return packets
}

// SendBurst sends the packets of a burst from inside a namespace, each by a socket of its own, as [Send] does, so that each can
// be told from all others, whatever they have in common. All descriptions are checked first, and all sockets open before the
// first packet is sent. The caller must Close what is returned; if there is an error, that is nothing.
func SendBurst(ctx context.Context, in In, b Burst) (all []*Sent, err error) {
	if err := b.validate(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			for _, sent := range all {
				err = errors.Join(err, sent.Close())
			}
			all = nil
		}
	}()
	err = in(func() error {
		for i, p := range b.Packets {
			sent := &Sent{Packet: p}
			all = append(all, sent)
			if err := p.open(sent); err != nil {
				return fmt.Errorf("packet %d: %w", i, err)
			}
		}
		return nil
	})
	if err != nil {
		return all, err
	}
	return all, b.transmit(ctx, all)
}

// transmit sends what is open, each when it is due.
func (b Burst) transmit(ctx context.Context, all []*Sent) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var first uint64 // when the first was sent
	for i, sent := range all {
		now, err := monotonic()
		if err != nil {
			return err
		}
		timer.Reset(time.Duration(first + b.after(i) - now)) // of the first, and of one that is late, in the past
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("send burst: packet %d: %w", i, ctx.Err())
		}
		if sent.Err == nil { // otherwise the kernel refused before there was anything to send
			if err := sent.transmit(); err != nil {
				return err
			}
		}
		if i == 0 {
			first = max(now, sent.Before)
		}
	}
	return nil
}

func (b Burst) validate() error {
	switch {
	case len(b.Packets) == 0:
		return errors.New("send burst: Packets is empty: give some, such as packet.Repeat(100, packet.UDP{…})")
	case b.Rate < 0 || math.IsNaN(b.Rate) || math.IsInf(b.Rate, 0):
		return fmt.Errorf("send burst: Rate is %v: give packets a second, or 0 for one right after the other", b.Rate)
	}
	for i, p := range b.Packets {
		if p == nil {
			return fmt.Errorf("send burst: packet %d is nil: describe one, such as packet.UDP{…}", i)
		}
		if err := p.validate(); err != nil {
			return fmt.Errorf("packet %d: %w", i, err)
		}
	}
	return nil
}

// after is when a packet is due, in nanoseconds after the first.
func (b Burst) after(i int) uint64 {
	if b.Rate == 0 {
		return 0
	}
	return uint64(float64(i) / b.Rate * float64(time.Second))
}
