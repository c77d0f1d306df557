package main

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// notice prints a line about something that takes a while.
func notice(line string) { fmt.Fprintln(os.Stderr, "waybill: "+line) }

// console shows what a kernel writes to its console.
type console struct {
	w    io.Writer
	open bool // the last line has no end yet
}

func (c *console) Write(b []byte) (int, error) {
	if len(b) > 0 {
		c.open = b[len(b)-1] != '\n'
	}
	return c.w.Write(b)
}

// end ends the line that a machine was in the middle of when it ended.
func (c *console) end() {
	if c.open {
		fmt.Fprintln(c.w)
	}
}

// passing is a line on a terminal that disappears as soon as there is something better to show. Where standard error
// is no terminal, it shows nothing.
type passing struct {
	once sync.Once
	show bool
}

func newPassing(line string) *passing {
	_, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	p := &passing{show: err == nil}
	if p.show {
		fmt.Fprint(os.Stderr, line)
	}
	return p
}

func (p *passing) clear() {
	if p.show {
		p.once.Do(func() { fmt.Fprint(os.Stderr, "\r\x1b[K") })
	}
}

// before returns a writer to w that clears the line first.
func (p *passing) before(w io.Writer) io.Writer { return clearing{p, w} }

type clearing struct {
	p *passing
	w io.Writer
}

func (c clearing) Write(b []byte) (int, error) {
	c.p.clear()
	return c.w.Write(b)
}
