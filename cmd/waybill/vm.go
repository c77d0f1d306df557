package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/vm"
)

// defaultTimeout is the longest run of a program that does not say.
const defaultTimeout = 10 * time.Minute

type vmCommand struct {
	Kernel         []string       `default:"${defaultKernel}" sep:"none" placeholder:"KERNEL" help:"Kernel to run under: a name of waybill kernel list, host, or the path of a vmlinuz or bzImage, of a Debian package or of a folder that one was unpacked into; repeatable (${default})."`
	All            bool           `help:"Run under every kernel of waybill kernel list."`
	Modules        string         `placeholder:"DIR" help:"Folder with the modules of a kernel that is given by its path."`
	Bin            []string       `placeholder:"PROG" help:"Program of this machine that PROGRAM starts, packed with its libraries, beside nft, ip and iptables; repeatable."`
	File           []string       `placeholder:"SRC[:DST]" sep:"none" help:"File or folder of this machine that PROGRAM reads, and its path in the VM; repeatable."`
	Module         []string       `placeholder:"NAME" help:"Kernel module to load, beside those that network tests need; repeatable."`
	Memory         int            `placeholder:"MIB" help:"Memory of the VM in MiB (2048)."`
	CPUs           int            `name:"cpus" placeholder:"N" help:"CPUs of the VM (those of this machine, at most 2)."`
	Icount         bool           `name:"icount" help:"The clock of the VM counts instructions, a nanosecond each: times repeat within a few percent. One CPU, emulation only."`
	Timeout        *time.Duration `placeholder:"TIME" help:"Longest run; then the program gets SIGQUIT, and the VM ends (10m; for a test binary a minute more than its own; 0 for none)."`
	Env            []string       `placeholder:"KEY=VALUE" sep:"none" help:"Variable for the program's environment; repeatable."`
	Dir            string         `placeholder:"DIR" help:"Working folder of the program in the VM (/; for a test binary, this one)."`
	Artifacts      string         `placeholder:"DIR" help:"Folder for what PROGRAM writes into the folder that $$WAYBILL_ARTIFACTS names there."`
	ArtifactsLimit int64          `default:"256" placeholder:"MIB" help:"How much may come back, reports and profiles included (${default})."`
	AllowTaint     bool           `help:"A kernel that warns, stalls or becomes tainted is no failure."`
	Append         string         `placeholder:"TEXT" help:"More parameters for the kernel's command line."`
	Accel          string         `enum:"auto,kvm,tcg" default:"auto" help:"auto (KVM if it works here, otherwise emulation), kvm or tcg."`
	Console        bool           `help:"Show the kernel's console on standard error."`
	Shell          bool           `help:"Start a shell in the VM in place of PROGRAM, which may be left out."`
	Command        []string       `arg:"" optional:"" name:"program" passthrough:"" help:"Program of this machine to run, and its arguments."`
}

// Help is shown by waybill vm --help.
func (vmCommand) Help() string {
	return "The program, static or with the libraries it needs, is packed into an initramfs with kernel modules and booted " +
		"with QEMU: no image, no network, no root. Its output, its exit status and its files come back. As \"go test -exec " +
		"'waybill vm --'\" it runs tests; go does not cache their results. Exit status 123: the kernel panicked, warned, " +
		"stalled or became tainted; 124: out of time; 125: the program was not run, or files of it did not come back. More " +
		"in docs/vm.md."
}

// Run runs the program. Its exit status becomes the command's; under several kernels, that of the first that is not 0.
func (c vmCommand) Run(ctx context.Context) error {
	config, err := c.config()
	if err != nil {
		return err
	}
	kernels := c.Kernel
	store, err := kernelStore()
	if err != nil {
		return err
	}
	if c.All {
		kernels = nil
		for _, k := range store.List {
			kernels = append(kernels, k.Name)
		}
	}
	if c.Modules != "" && len(kernels) > 1 {
		return errors.New("--modules belongs to one kernel: name one")
	}
	r := runner{store: store, modules: c.Modules, console: c.Console}
	if len(kernels) == 1 {
		return outcome(r.run(ctx, kernels[0], config))
	}
	return r.runAll(ctx, kernels, config)
}

// config makes a configuration of the flags, without a kernel.
func (c vmCommand) config() (vm.Config, error) {
	args := c.Command
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 && !c.Shell {
		return vm.Config{}, errors.New("no program to run was named: waybill vm [flags] -- PROGRAM ARGS")
	}
	if c.ArtifactsLimit < 1 || c.ArtifactsLimit > 1<<20 {
		return vm.Config{}, fmt.Errorf("--artifacts-limit %d: give a number of MiB", c.ArtifactsLimit)
	}
	config := vm.Config{
		Env: c.Env, Dir: c.Dir, Binaries: c.Bin, Modules: c.Module,
		MemoryMiB: c.Memory, CPUs: c.CPUs, CountInstructions: c.Icount, Append: c.Append, Accel: vm.Accel(c.Accel),
		Artifacts: c.Artifacts, OutputLimit: c.ArtifactsLimit << 20, AllowTaint: c.AllowTaint,
	}
	if len(args) > 0 {
		config.Program, config.Args = args[0], args[1:]
	}
	for _, f := range c.File {
		src, dst, _ := strings.Cut(f, ":")
		if src == "" || dst != "" && !strings.HasPrefix(dst, "/") {
			return vm.Config{}, fmt.Errorf("--file %s: write SRC, or SRC:DST with an absolute DST", f)
		}
		config.Files = append(config.Files, vm.File{Src: src, Dst: dst})
	}
	config.Timeout = longestRun(c.Timeout, config.Args)
	if err := likeGoTest(&config); err != nil {
		return vm.Config{}, err
	}
	addNetworkPrograms(&config)
	if c.Shell {
		addShell(&config)
		if c.Timeout == nil {
			config.Timeout = 0
		}
	}
	return config, nil
}
