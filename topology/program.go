package topology

import "github.com/cilium/ebpf"

// Program is a BPF program: one that is loaded already, or one in an ELF file. The zero value is none.
type Program struct {
	// Loaded is a program that the caller loaded, and closes. The device keeps its own reference.
	Loaded *ebpf.Program
	// File is the path of an ELF file, and Name the program's name in it; an empty Name takes the only one there is.
	File, Name string
}

func (p Program) given() bool { return p.Loaded != nil || p.File != "" || p.Name != "" }
