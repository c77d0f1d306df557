package topology

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// UnsupportedError is a feature that a network needs and that the running kernel does not have.
type UnsupportedError struct {
	// Feature is what is missing, such as "devices of type vrf".
	Feature string
	// Module is the kernel module, or the configuration option, that brings it.
	Module string
	// Err is what the kernel answered.
	Err error
}

// Error is one sentence.
func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("this kernel has no %s (module %s): %v", e.Feature, e.Module, e.Err)
}

// Unwrap returns what the kernel answered.
func (e *UnsupportedError) Unwrap() error { return e.Err }

// unsupported turns the answers by which the kernel says that it does not know something into an [UnsupportedError]:
// EOPNOTSUPP for types of devices and attributes, ENOENT for queueing disciplines, filters and actions, EPROTONOSUPPORT
// and EAFNOSUPPORT for protocols.
func unsupported(err error, feature, module string) error {
	if err == nil {
		return nil
	}
	for _, errno := range []unix.Errno{unix.EOPNOTSUPP, unix.ENOENT, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, errno) {
			return &UnsupportedError{Feature: feature, Module: module, Err: err}
		}
	}
	return err
}

// modules are those of the types of devices whose names differ.
var modules = map[string]string{
	"vlan": "8021q", "bond": "bonding", "gre": "ip_gre", "ip6gre": "ip6_gre", "gretap": "ip_gre", "ip6gretap": "ip6_gre",
	"ip6tnl": "ip6_tunnel", "xfrm": "xfrm_interface",
}

func module(kind string) string {
	if name, ok := modules[kind]; ok {
		return name
	}
	return kind
}
