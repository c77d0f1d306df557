package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/vm"
	"github.com/waybill-dev/waybill/vm/kernel"
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
	File    []string      `placeholder:"SRC[:DST]" sep:"none" help:"File or folder of this machine that PROGRAM reads, and its path in the VM; repeatable."`
	Module  []string      `placeholder:"NAME" help:"Kernel module to load, beside those that network tests need; repeatable."`
	Memory  int           `placeholder:"MIB" help:"Memory of the VM in MiB (2048)."`
	CPUs    int           `name:"cpus" placeholder:"N" help:"CPUs of the VM (those of this machine, at most 2)."`
	Timeout time.Duration `help:"Longest run; then the program gets SIGQUIT, and the VM ends (10m; 0 for none)." default:"10m"`
	Env     []string      `placeholder:"KEY=VALUE" sep:"none" help:"Variable for the program's environment; repeatable."`
	Dir     string        `placeholder:"DIR" help:"Working folder of the program in the VM (/; for a test binary, this one)."`
	Append  string        `placeholder:"TEXT" help:"More parameters for the kernel's command line."`
	Accel   string        `enum:"auto,kvm,tcg" default:"auto" help:"auto (KVM if it works here, otherwise emulation), kvm or tcg."`
	Console bool          `help:"Show the kernel's console on standard error."`
	Command []string      `arg:"" name:"program" passthrough:"" help:"Program of this machine to run, and its arguments."`
}

// Help is shown by waybill vm --help.
func (vmCommand) Help() string {
	return "The program, static or with the libraries it needs, is packed into an initramfs with kernel modules and booted " +
		"with QEMU: no image, no network, no root. Its output and its exit status come back. As \"go test -exec " +
		"'waybill vm --'\" it runs tests. Exit status 124: out of time; 125: the program was not run, or the kernel died."
}

// Run runs the program. Its exit status becomes the command's.
func (c vmCommand) Run(ctx context.Context) error {
	args := c.Command
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return errors.New("no program to run was named: waybill vm [flags] -- PROGRAM ARGS")
	}
	config := vm.Config{
		Program: args[0], Args: args[1:], Env: c.Env, Dir: c.Dir, Binaries: c.Bin, Modules: c.Module,
		MemoryMiB: c.Memory, CPUs: c.CPUs, Timeout: c.Timeout, Append: c.Append, Accel: vm.Accel(c.Accel),
	}
	for _, f := range c.File {
		src, dst, _ := strings.Cut(f, ":")
		config.Files = append(config.Files, vm.File{Src: src, Dst: dst})
	}
	if err := likeGoTest(&config); err != nil {
		return err
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

// likeGoTest gives a test binary what it expects of go test, which runs it in the folder of its package: that folder,
// and its testdata.
func likeGoTest(config *vm.Config) error {
	if !strings.HasSuffix(config.Program, ".test") || config.Dir != "" {
		return nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("find this folder: %w", err)
	}
	config.Dir = dir
	if st, err := os.Stat(filepath.Join(dir, "testdata")); err == nil && st.IsDir() {
		config.Files = append(config.Files, vm.File{Src: filepath.Join(dir, "testdata")})
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

// runVM runs what config says under a named kernel, as the program of this process.
func runVM(ctx context.Context, kernelName string, config vm.Config) (int, error) {
	store, err := kernelStore()
	if err != nil {
		return 0, err
	}
	if _, err := store.List.Find(kernelName); err != nil {
		return 0, err
	}
	if err := vm.Check(config); err != nil {
		return 0, err
	}
	if config.Kernel, err = getKernel(ctx, store, kernelName); err != nil {
		return 0, err
	}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, passedSignals...)
	defer signal.Stop(signals)
	config.Signals = signals
	config.OptionalModules, config.OnDemand = networkModules, ondemandModules
	config.Notice = notice
	line := newPassing(fmt.Sprintf("waybill: booting kernel %s …", kernelName))
	defer line.clear()
	config.Stdout, config.Stderr = line.before(os.Stdout), line.before(os.Stderr)
	result, err := vm.Run(ctx, config)
	if err != nil {
		return 0, err
	}
	return result.ExitCode, nil
}

func getKernel(ctx context.Context, store kernel.Store, name string) (vm.Kernel, error) {
	ctx, stop := interruptible(ctx)
	defer stop()
	return store.Get(ctx, name)
}
