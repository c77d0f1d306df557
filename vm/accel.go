package vm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// probeTimeout bounds the boot that shows whether KVM works; one that does takes a second.
const probeTimeout = 20 * time.Second

// kvmAnswer is what is remembered about KVM.
type kvmAnswer struct {
	Machine string // see machineKey
	Works   bool
	Why     string // what was seen, if it does not work
}

// chooseAccel returns KVM if a guest was seen to boot under it on this machine, otherwise TCG. That /dev/kvm can be
// opened says little: nested or filtered virtualization fails later, by a crash or by a guest that hangs.
func chooseAccel(ctx context.Context, qemu string, c Config) (Accel, error) {
	if !mayUseKVM() {
		return TCG, nil
	}
	key, err := machineKey(qemu)
	if err != nil {
		return "", err
	}
	file, err := cachePath("kvm.json")
	if err != nil {
		return "", err
	}
	var answer kvmAnswer
	if text, err := os.ReadFile(file); err != nil || json.Unmarshal(text, &answer) != nil || answer.Machine != key {
		c.Notice("trying once whether KVM works on this machine")
		if answer, err = probeKVM(ctx, qemu, c); err != nil {
			return "", err
		}
		answer.Machine = key
		err = writeAtomically(file, func(w io.Writer) error { return json.NewEncoder(w).Encode(answer) })
		if err != nil {
			return "", fmt.Errorf("remember whether KVM works: %w", err)
		}
		if !answer.Works {
			c.Notice("KVM does not work here (" + answer.Why + "): using emulation")
		}
	}
	if answer.Works {
		return KVM, nil
	}
	return TCG, nil
}

// threads is how many of the host's CPUs a machine keeps busy: emulated CPUs share one thread.
func (a Accel) threads(c Config) int {
	if a == KVM {
		return c.CPUs
	}
	return 1
}

// mayUseKVM tells whether this user can open KVM's device.
func mayUseKVM() bool {
	kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = kvm.Close()
	return true
}

// machineKey changes when the answer about KVM may: with a boot of this machine and with another QEMU.
func machineKey(qemu string) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("identify this machine: %w", err)
	}
	st, err := os.Stat(qemu)
	if err != nil {
		return "", fmt.Errorf("look at QEMU: %w", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("identify this machine: %w", err)
	}
	return fmt.Sprintf("%s %s %s %d %d", strings.TrimSpace(string(boot)), unix.ByteSliceToString(u.Release[:]), qemu,
		st.Size(), st.ModTime().UnixNano()), nil
}

// probeKVM boots a guest without a program under KVM. How that fails is the answer; the error is that of the caller's
// context or signals, or of something that has nothing to do with KVM.
func probeKVM(ctx context.Context, qemu string, c Config) (kvmAnswer, error) {
	unlock, err := lockMachine(ctx, c, KVM.threads(c))
	if err != nil {
		return kvmAnswer{}, err
	}
	defer unlock()
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	c.Console = nil
	root, err := packProbe(c)
	if err != nil {
		return kvmAnswer{}, err
	}
	c.Artifacts, c.Outputs = "", nil
	back, err := newCollector(c)
	if err != nil {
		return kvmAnswer{}, err
	}
	packed, err := root.archive(ctx, c)
	if err != nil {
		return kvmAnswer{}, err
	}
	defer packed.close()
	_, err = boot(limited, qemu, KVM, c, packed, back)
	if ctx.Err() != nil {
		return kvmAnswer{}, fmt.Errorf("try KVM: %w", context.Cause(ctx))
	}
	if i, ok := errors.AsType[*InterruptedError](err); ok {
		return kvmAnswer{}, i
	}
	switch e, isBoot := errors.AsType[*BootError](err); {
	case err == nil:
		return kvmAnswer{Works: true}, nil
	case errors.Is(err, context.DeadlineExceeded):
		return kvmAnswer{Why: fmt.Sprintf("a guest was not up after %s", probeTimeout)}, nil
	case isBoot:
		return kvmAnswer{Why: e.Reason}, nil
	default:
		return kvmAnswer{}, fmt.Errorf("try KVM: %w", err)
	}
}
