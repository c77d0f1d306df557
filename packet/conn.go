package packet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Conn is a TCP connection of ordinary sockets.
type Conn struct {
	// Cookie is the SO_COOKIE of the socket: that of every segment it sends, from the SYN on.
	Cookie uint64
	// Local and Remote are the addresses and ports.
	Local, Remote netip.AddrPort
	// Err is why there is no connection; it wraps a [syscall.Errno], such as ECONNREFUSED, or the context's error if
	// nobody answered in time. It is nil if there is one. As with [Sent.Err], it is what tests provoke.
	Err error

	socket *socket
}

// Dial connects to a port, and waits until that is done, refused, or the context ends. Flags, Seq, Ack, Window and Payload
// of the description must be zero. The caller must Close what is returned, also if its Err is set.
func Dial(ctx context.Context, in In, t TCP) (*Conn, error) {
	switch {
	case t.Flags != 0 || t.Seq != 0 || t.Ack != 0 || t.Window != 0 || t.Payload != nil:
		return nil, errors.New("dial TCP: Flags, Seq, Ack, Window and Payload are the connection's own: leave them zero, or use Send")
	case t.DstPort == 0:
		return nil, errors.New("dial TCP: DstPort is 0: give the destination port, 1 to 65535")
	}
	if err := validateRaw("TCP", t.To, t.Src); err != nil {
		return nil, err
	}
	c := &Conn{}
	if err := in(func() error { return c.open(t) }); err != nil {
		return nil, errors.Join(fmt.Errorf("dial TCP: %w", err), c.Close())
	}
	if errors.Is(c.Err, unix.EINPROGRESS) {
		c.Err = c.socket.connected(ctx)
	}
	if c.Err != nil {
		c.Err = fmt.Errorf("connect to %s: %w", c.Remote, c.Err)
	}
	return c, nil
}

// open makes the socket and sends the SYN.
func (c *Conn) open(t TCP) (err error) {
	to := t.To.Addr().Unmap()
	c.Remote = netip.AddrPortFrom(to, t.DstPort)
	if c.socket, err = openSocket(family(to), unix.SOCK_STREAM, 0); err != nil {
		return err
	}
	fd := c.socket.fd
	if c.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil {
		return fmt.Errorf("read socket cookie: %w", err)
	}
	if err := t.Options.apply(fd, family(to)); err != nil {
		return err
	}
	if t.Src != nil || t.SrcPort != 0 {
		src := unspecified(to)
		if t.Src != nil {
			src = t.Src.Addr().Unmap()
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
			return fmt.Errorf("allow the source port to be reused: %w", err)
		}
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(src, t.SrcPort))); err != nil {
			return fmt.Errorf("bind to source: %w", err)
		}
	}
	c.Err = unix.Connect(fd, sockaddr(c.Remote))
	if c.Err == nil || errors.Is(c.Err, unix.EINPROGRESS) {
		c.Local, err = localAddr(fd)
	}
	return err
}

// Send sends data, and returns when the kernel has taken all of it.
func (c *Conn) Send(ctx context.Context, data []byte) error {
	if err := c.socket.writeAll(ctx, data); err != nil {
		return fmt.Errorf("send to %s: %w", c.Remote, err)
	}
	return nil
}

// Receive waits for data and returns what is there; the error is [io.EOF] when the other side has sent all. One goroutine
// at a time may call it.
func (c *Conn) Receive(ctx context.Context) ([]byte, error) {
	buffer := make([]byte, 1<<16)
	n, err := c.socket.readStream(ctx, buffer)
	if err != nil {
		return nil, fmt.Errorf("receive from %s: %w", c.Remote, err)
	}
	if n == 0 {
		return nil, io.EOF
	}
	return buffer[:n:n], nil
}

// CloseWrite sends a FIN, and can still receive.
func (c *Conn) CloseWrite() error {
	if err := c.socket.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) }); err != nil {
		return fmt.Errorf("close the connection to %s for writing: %w", c.Remote, err)
	}
	return nil
}

// Reset ends the connection with RST, and closes it.
func (c *Conn) Reset() error {
	err := c.socket.control(func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	return errors.Join(err, c.Close())
}

// Close closes the connection. Calling it again does nothing.
func (c *Conn) Close() error {
	if c.socket == nil {
		return nil
	}
	return c.socket.close()
}

// Endpoints are the ends of the connection, as this one sees them, and the IP protocol, TCP.
func (c *Conn) Endpoints() (proto uint8, local, remote netip.AddrPort) {
	return unix.IPPROTO_TCP, c.Local, c.Remote
}

// SocketCookie is [Conn.Cookie]: what a record finds the segments' journeys by.
func (c *Conn) SocketCookie() uint64 { return c.Cookie }

// String prints the connection as TCP 172.16.42.1.39677 > 172.16.42.2.80.
func (c *Conn) String() string {
	return fmt.Sprintf("TCP %s > %s", endpoint(c.Local), endpoint(c.Remote))
}

// TCPListener accepts TCP connections to a port, by IPv4 or IPv6, at any address of its namespace.
type TCPListener struct {
	socket *socket
	port   uint16
	cookie uint64
}

// ListenTCP opens a listener inside a namespace. Port 0 takes a free one. The caller must Close it.
func ListenTCP(in In, port uint16) (*TCPListener, error) {
	l := &TCPListener{}
	if err := in(func() error { return l.open(port) }); err != nil {
		return nil, errors.Join(fmt.Errorf("listen on TCP port %d: %w", port, err), l.Close())
	}
	return l, nil
}

func (l *TCPListener) open(port uint16) (err error) {
	if l.socket, l.port, l.cookie, err = bindAny(unix.SOCK_STREAM, port); err != nil {
		return err
	}
	if err := unix.Listen(l.socket.fd, unix.SOMAXCONN); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// Port is the port that the listener is on.
func (l *TCPListener) Port() uint16 { return l.port }

// Cookie is the SO_COOKIE of the listening socket.
func (l *TCPListener) Cookie() uint64 { return l.cookie }

// Accept waits for a connection, which the caller must Close.
func (l *TCPListener) Accept(ctx context.Context) (*Conn, error) {
	fd, from, err := l.socket.accept(ctx)
	if err != nil {
		return nil, fmt.Errorf("accept on TCP port %d: %w", l.port, err)
	}
	c := &Conn{Remote: addrPort(from)}
	if c.socket, err = newSocket(fd); err != nil {
		return nil, fmt.Errorf("accept on TCP port %d: %w", l.port, err)
	}
	if c.Cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err == nil {
		c.Local, err = localAddr(fd)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("accept on TCP port %d: %w", l.port, err), c.Close())
	}
	return c, nil
}

// Close closes the listener; connections that were accepted live on. Calling it again does nothing.
func (l *TCPListener) Close() error {
	if l.socket == nil {
		return nil
	}
	return l.socket.close()
}
