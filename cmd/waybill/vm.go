package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/waybill-dev/waybill/vm"
)

// networkModules are loaded before every program, as far as the kernel has them: what most tests of the network need,
// so that its functions can be probed before the first packet or rule asks for it.
var networkModules = []string{
	"veth", "bridge", "dummy", "nf_tables", "nft_ct", "nft_chain_nat", "nft_nat", "nft_masq", "nft_reject_inet",
	"nft_log", "nft_limit", "nf_conntrack", "nf_conntrack_netlink", "nf_nat", "nf_log_syslog",
}

// ondemandModules are in every guest, and are loaded when the kernel asks for them. Some would change a test that
// does not want them: tunnels add a device to each namespace, br_netfilter sends bridged packets through iptables.
var ondemandModules = []string{
	"net", "dummy", "geneve", "gtp", "ifb", "ipvlan", "ipvtap", "macsec", "macvlan", "macvtap", "netconsole",
	"netdevsim", "nlmon", "tap", "tun", "veth", "vrf", "vsockmon", "drivers/net/bonding", "drivers/net/team",
	"drivers/net/vxlan", "drivers/net/wireguard", "drivers/net/ovpn", "crypto",
}

type vmCommand struct {
	Kernel  string        `default:"${defaultKernel}" help:"Kernel to run under, as waybill kernel list names it (${default})."`
	Bin     []string      `placeholder:"PROG" help:"Program of this machine that PROGRAM starts, packed with its libraries; repeatable."`
	Module  []string      `placeholder:"NAME" help:"Kernel module to load, beside those that network tests need; repeatable."`
	Memory  int           `placeholder:"MIB" help:"Memory of the VM in MiB (2048)."`
	CPUs    int           `name:"cpus" placeholder:"N" help:"CPUs of the VM (those of this machine, at most 2)."`
	Timeout time.Duration `help:"Longest run; then the program gets SIGQUIT, and the VM ends (10m; 0 for none)." default:"10m"`
	Env     []string      `placeholder:"KEY=VALUE" sep:"none" help:"Variable for the program's environment; repeatable."`
	Dir     string        `placeholder:"DIR" help:"Working folder of the program in the VM (/)."`
	Append  string        `placeholder:"TEXT" help:"More parameters for the kernel's command line."`
	Accel   string        `enum:"auto,kvm,tcg" default:"auto" help:"auto (KVM if it works here, otherwise emulation), kvm or tcg."`
	Console bool          `help:"Show the kernel's console on standard error."`
	Command []string      `arg:"" name:"program" passthrough:"" help:"Program of this machine to run, and its arguments."`
}

// Run runs the program. Its exit status becomes the command's.
func (c vmCommand) Run(ctx context.Context) error {
	args := c.Command
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return fmt.Errorf("no program to run was named: waybill vm [flags] -- PROGRAM ARGS")
	}
	config := vm.Config{
		Program: args[0], Args: args[1:], Env: c.Env, Dir: c.Dir, Binaries: c.Bin, Modules: c.Module,
		MemoryMiB: c.Memory, CPUs: c.CPUs, Timeout: c.Timeout, Append: c.Append, Accel: vm.Accel(c.Accel),
	}
	if c.Console {
		config.Console = os.Stderr
	}
	code, err := runVM(ctx, c.Kernel, config)
	if err != nil {
		return err
	}
	if code != 0 {
		return exitStatus(code)
	}
	return nil
}

// runInVM runs this executable with args in a VM under a named kernel, with host programs beside it, and returns its
// exit status. Output goes to this process's own, signals to the executable in the VM.
func runInVM(ctx context.Context, kernelName string, args, bins []string) (exit int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("find this executable: %w", err)
	}
	return runVM(ctx, kernelName, vm.Config{Program: self, Args: args, Binaries: bins})
}

// passedSignals are sent on to the program.
var passedSignals = []os.Signal{
	syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2,
}

func runVM(ctx context.Context, kernelName string, config vm.Config) (int, error) {
	store, err := kernelStore()
	if err != nil {
		return 0, err
	}
	if config.Kernel, err = store.Get(ctx, kernelName); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, passedSignals...)
	defer signal.Stop(signals)
	config.Signals = signals
	config.OptionalModules, config.OnDemand = networkModules, ondemandModules
	config.Stdout, config.Stderr, config.Notice = os.Stdout, os.Stderr, notice
	result, err := vm.Run(ctx, config)
	if err != nil {
		return 0, err
	}
	return result.ExitCode, nil
}
