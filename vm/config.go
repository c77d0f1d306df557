package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

// Kernel is a Linux kernel, by its files.
type Kernel struct {
	// Name is what messages call the kernel ("6.12"); empty: the base name of Image.
	Name string
	// Image is the path of the kernel image, vmlinuz or bzImage.
	Image string
	// Modules is the folder of the kernel's modules with its modules.dep, as /lib/modules/VERSION. Empty: the kernel
	// has no modules.
	Modules string
}

func (k Kernel) String() string {
	if k.Name != "" {
		return k.Name
	}
	return k.Image
}

// File is a file of the host that is wanted in the guest, or a folder with all that is in it.
type File struct {
	Src string // path on the host
	Dst string // absolute path in the guest; empty: the absolute path of Src
}

// Accel says how QEMU runs the guest's instructions.
type Accel string

// The accelerators.
const (
	// Auto is KVM if a boot under it was seen to work on this machine, otherwise TCG. The zero value means the same.
	Auto Accel = "auto"
	KVM  Accel = "kvm" // hardware virtualization
	TCG  Accel = "tcg" // emulation
)

// Config says what to run, and in which machine.
type Config struct {
	Kernel Kernel

	// Program is an executable of the host: a path, or a name that is looked up in PATH and in the sbin folders. It
	// has the same absolute path in the guest.
	Program string
	Args    []string // arguments after the program's name
	// Env holds KEY=VALUE entries. The guest's environment consists of these and of PATH, HOME, USER, TERM and
	// SHELL; the host's is not passed on.
	Env []string
	// Dir is the program's working folder in the guest, made if it is missing. Empty: "/".
	Dir string

	// Binaries are host programs that Program starts, by path or by name, as for Program. Their shared libraries
	// come with them.
	Binaries []string
	// OptionalBinaries come along too, if this machine has them.
	OptionalBinaries []string
	Files            []File
	// Modules are kernel modules that are loaded, after those that they depend on, before the program starts. A name
	// that the kernel has neither as a module nor built in is an error.
	Modules []string
	// OptionalModules are loaded too, but a kernel may lack them.
	OptionalModules []string
	// OnDemand are modules that the guest has but loads only when its kernel asks for them, as any machine does:
	// names of modules, or folders of the kernel's source tree ("net", "drivers/net/vxlan"). What the kernel lacks
	// is passed over.
	OnDemand []string

	// Artifacts is a folder of the host, made if it is missing. What the program writes into the folder that its
	// variable WAYBILL_ARTIFACTS names comes back there; WAYBILL_ARTIFACTS_HOST is this folder. Empty: neither is set.
	Artifacts string
	// Outputs are further files and folders that come back.
	Outputs []Output
	// OutputLimit is how much may come back, in bytes; 0: DefaultOutputLimit. If there is more, the largest files are
	// left out, and Run returns an [OutputError].
	OutputLimit int64

	MemoryMiB int // 0: 2048
	CPUs      int // 0: those of this machine, at most 2
	// CountInstructions makes the guest's clock count instructions: one is a nanosecond, in every clock of the guest. What
	// the program measures repeats within a few percent then, whatever else the host does. It takes one CPU and emulation:
	// CPUs may be 0 or 1, Accel [Auto] or [TCG]. A guest that waits is not slowed down or sped up: its clock goes on with the
	// host's.
	CountInstructions bool
	// Timeout is the longest time that the program may run; 0: no limit. When it has passed, the program gets
	// SIGQUIT, which makes a Go program write its goroutines to standard error, then the machine is ended and Run
	// returns a [DeadlineError]. The boot before that has a limit of its own, two minutes.
	Timeout time.Duration
	Append  string // more parameters for the kernel's command line
	// AllowTaint: a kernel that warns, stalls or becomes tainted while the program runs is no failure. A panic is.
	AllowTaint bool
	Accel      Accel

	// Stdin is the program's standard input; nil: none. If it is a terminal, the program gets one too, and writes its
	// standard error to it. The terminal passes on every key while the program runs, also Ctrl-C.
	Stdin          *os.File
	Stdout, Stderr io.Writer // nil: discarded
	// Console gets what the kernel writes to its console, which is then told to be verbose. Nil: only the last lines
	// are kept, for error texts.
	Console io.Writer
	// Notice is called with a line about a wait that a user should know of: another VM is running, KVM is being
	// tried. Nil: not called.
	Notice func(string)

	// Signals that arrive here are sent to the program. One that arrives before the program runs ends the machine,
	// and Run returns an [InterruptedError].
	Signals <-chan os.Signal
}

// Result is what is known of a program that ran to its end.
type Result struct {
	// ExitCode is the program's exit status, or 128 + N if signal N ended it.
	ExitCode int
	// Accel is what the machine ran on: KVM or TCG.
	Accel Accel
	// Taint holds the bits that were set in the guest kernel's taint mask while the program ran
	// (Documentation/admin-guide/tainted-kernels.rst).
	Taint uint64
	// Killed are the names of the processes that the guest's kernel killed because the memory was used up.
	Killed []string
	// Full are the guest's file systems, by their folders, that had no room left when the program ended. They are in
	// memory, and take up to half of it each.
	Full []string
	// Interrupted: a signal to end, SIGINT or SIGTERM, was passed on to the program.
	Interrupted bool
	// Boot is the time from the start of QEMU to the start of the program.
	Boot time.Duration
}

const (
	// DefaultMemoryMiB is the memory of a guest whose configuration does not say.
	DefaultMemoryMiB = 2048
	// leastMemoryMiB holds a stock kernel and an initramfs with the modules that network tests may need, 45 MiB.
	leastMemoryMiB = 256
	defaultCPUs    = 2
	// bootTimeout bounds the time until the program starts. A healthy guest takes 4 s under emulation on a small
	// machine; the factor is for a loaded one.
	bootTimeout = 2 * time.Minute
	// quitGrace is how long a program may take to write its goroutines after SIGQUIT.
	quitGrace = 10 * time.Second
)

// withDefaults fills in what was left empty, and checks what needs no file.
func (c Config) withDefaults() (Config, error) {
	if c.MemoryMiB == 0 {
		c.MemoryMiB = DefaultMemoryMiB
	}
	if c.CPUs == 0 && c.CountInstructions {
		c.CPUs = 1
	}
	if c.CPUs == 0 {
		c.CPUs = min(runtime.NumCPU(), defaultCPUs)
	}
	if c.Accel == "" {
		c.Accel = Auto
	}
	if c.Dir == "" {
		c.Dir = "/"
	}
	if c.OutputLimit == 0 {
		c.OutputLimit = DefaultOutputLimit
	}
	for _, w := range []*io.Writer{&c.Stdout, &c.Stderr} {
		if *w == nil {
			*w = io.Discard
		}
	}
	if c.Notice == nil {
		c.Notice = func(string) {}
	}
	switch {
	case c.MemoryMiB < leastMemoryMiB:
		return c, fmt.Errorf("%d MiB of memory are too few for a guest: give it %d or more", c.MemoryMiB, leastMemoryMiB)
	case c.CPUs < 1:
		return c, fmt.Errorf("a guest with %d CPUs cannot run: give it 1 or more", c.CPUs)
	case c.OutputLimit < 0:
		return c, fmt.Errorf("%d is no limit for what comes back: give a number of bytes", c.OutputLimit)
	case c.Program == "":
		return c, errors.New("no program to run was named")
	}
	for _, e := range c.Env {
		if strings.Index(e, "=") < 1 {
			return c, fmt.Errorf("%q is no variable for the program's environment: write KEY=VALUE", e)
		}
	}
	switch c.Accel {
	case Auto, KVM, TCG:
	default:
		return c, fmt.Errorf("unknown accelerator %q: use %s, %s or %s", c.Accel, Auto, KVM, TCG)
	}
	if c.CountInstructions {
		switch {
		case c.CPUs != 1:
			return c, fmt.Errorf("a guest with %d CPUs cannot count instructions: give it 1", c.CPUs)
		case c.Accel == KVM:
			return c, fmt.Errorf("a guest under %s cannot count instructions: use %s or %s", KVM, Auto, TCG)
		}
		c.Accel = TCG
	}
	return c, nil
}

// check sees whether the kernel's files are there.
func (k Kernel) check() error {
	if k.Image == "" {
		return errors.New("no kernel was named: give the path of a kernel image (vmlinuz)")
	}
	st, err := os.Stat(k.Image)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("kernel image %s does not exist", k.Image)
	case err != nil:
		return fmt.Errorf("look at kernel image: %w", err)
	case !st.Mode().IsRegular():
		return fmt.Errorf("kernel image %s is not a file: name the vmlinuz itself", k.Image)
	}
	return nil
}
