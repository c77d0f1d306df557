package topology

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
)

// addPrograms impairs devices, and attaches programs to them. What holds a program is the device, so it goes when the
// namespace does.
func (rn *runningNode) addPrograms() error {
	for name, device := range rn.node.all() {
		if device.Impair != (Impairment{}) {
			if err := rn.impair(name, device.Impair); err != nil {
				return err
			}
		}
		if device.XDP.given() {
			if err := rn.attachXDP(name, device.XDP); err != nil {
				return fmt.Errorf("%s: attach XDP program: %w", name, err)
			}
		}
		for _, hook := range []struct {
			name    string
			program Program
			parent  uint32
		}{
			{"ingress", device.Ingress, netlink.HANDLE_MIN_INGRESS},
			{"egress", device.Egress, netlink.HANDLE_MIN_EGRESS},
		} {
			if !hook.program.given() {
				continue
			}
			if err := rn.attachTC(name, hook.program, hook.parent); err != nil {
				return fmt.Errorf("%s: attach %s program: %w", name, hook.name, err)
			}
		}
	}
	return nil
}

func (rn *runningNode) attachXDP(device string, program Program) error {
	return program.with(ebpf.XDP, func(loaded *ebpf.Program) error {
		return rn.ns.Do(func() error {
			return netlink.LinkSetXdpFd(deviceByIndex(rn.devices[device]), loaded.FD())
		})
	})
}

func (rn *runningNode) attachTC(device string, program Program, parent uint32) error {
	return program.with(ebpf.SchedCLS, func(loaded *ebpf.Program) error {
		attrs := netlink.QdiscAttrs{
			LinkIndex: rn.devices[device], Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}
		if err := rn.route.QdiscReplace(&netlink.Clsact{QdiscAttrs: attrs}); err != nil {
			return unsupported(err, "queueing discipline clsact", "sch_ingress")
		}
		err := rn.route.FilterAdd(&netlink.BpfFilter{
			FilterAttrs: netlink.FilterAttrs{
				LinkIndex: rn.devices[device], Parent: parent, Handle: 1, Protocol: allProtocols, Priority: 1,
			},
			Fd: loaded.FD(), Name: "waybill", DirectAction: true,
		})
		return unsupported(err, "filter bpf", "cls_bpf")
	})
}

// allProtocols is ETH_P_ALL.
const allProtocols = 3

// with calls f with the loaded program.
func (p Program) with(kind ebpf.ProgramType, f func(*ebpf.Program) error) error {
	if p.Loaded != nil {
		return f(p.Loaded)
	}
	spec, err := ebpf.LoadCollectionSpec(p.File)
	if err != nil {
		return fmt.Errorf("read %s: %w", p.File, err)
	}
	name := p.Name
	if name == "" {
		name = slices.Sorted(maps.Keys(spec.Programs))[0]
	}
	if spec.Programs[name].Type == ebpf.UnspecifiedProgram {
		spec.Programs[name].Type = kind
	}
	collection, err := ebpf.NewCollection(spec)
	if err != nil {
		return fmt.Errorf("load %s: %w", p.File, err)
	}
	defer collection.Close() // the device holds the program, and the program its maps
	return f(collection.Programs[name])
}

// check reports what is wrong with the program.
func (p Program) check(kind ebpf.ProgramType) error {
	switch {
	case !p.given():
		return nil
	case p.Loaded != nil && (p.File != "" || p.Name != ""):
		return errors.New("both Loaded and a File are given: give one")
	case p.Loaded != nil:
		if p.Loaded.Type() != kind {
			return fmt.Errorf("the program is of type %s: %s is needed", p.Loaded.Type(), kind)
		}
		return nil
	case p.File == "":
		return errors.New("a Name is given, but no File: give the ELF file")
	}
	spec, err := ebpf.LoadCollectionSpec(p.File)
	if err != nil {
		return fmt.Errorf("read ELF file: %w", err)
	}
	names := slices.Sorted(maps.Keys(spec.Programs))
	found, ok := spec.Programs[p.Name]
	switch {
	case len(names) == 0:
		return fmt.Errorf("%s has no program", p.File)
	case p.Name == "" && len(names) > 1:
		return fmt.Errorf("%s has several programs, %q: give the Name of one", p.File, names)
	case p.Name == "":
		found = spec.Programs[names[0]]
	case !ok:
		return fmt.Errorf("%s has no program %q%s", p.File, p.Name, meant(p.Name, names))
	}
	if found.Type != kind && found.Type != ebpf.UnspecifiedProgram {
		return fmt.Errorf("the program is of type %s: %s is needed", found.Type, kind)
	}
	return nil
}
