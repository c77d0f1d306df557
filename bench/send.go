package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// sendCommand is the sender: it reads how many datagrams to send, sends and receives them, and writes a byte when all have
// come. Its sockets are the files 3, which sends, and 4, which receives.
type sendCommand struct{}

// Run ends when there can be no more orders.
func (sendCommand) Run() error {
	out, in := 3, 4
	buffer := make([]byte, payloadBytes)
	for {
		var n uint32
		if err := binary.Read(os.Stdin, binary.LittleEndian, &n); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read an order: %w", err)
		}
		for left := int(n); left > 0; left -= chunk {
			if err := exchange(out, in, buffer, min(left, chunk)); err != nil {
				return err
			}
		}
		if _, err := os.Stdout.Write([]byte{1}); err != nil {
			return fmt.Errorf("tell that the datagrams have come: %w", err)
		}
	}
}

func exchange(out, in int, buffer []byte, n int) error {
	for range n {
		if err := unix.Sendto(out, buffer, 0, nil); err != nil {
			return fmt.Errorf("send a datagram: %w", err)
		}
	}
	for range n {
		if _, _, err := unix.Recvfrom(in, buffer, 0); err != nil {
			return fmt.Errorf("receive a datagram, which the flood may not lose: %w", err)
		}
	}
	return nil
}
