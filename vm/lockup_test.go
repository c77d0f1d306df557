package vm_test

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/go-quicktest/qt"

	"github.com/waybill-dev/waybill/vm"
)

// lockUp keeps a CPU in the kernel for five seconds, which is told when it has taken more than two: it runs loops within loops
// of a BPF program, which a kernel that does not preempt itself does not interrupt.
func lockUp() error {
	if err := os.WriteFile("/proc/sys/kernel/watchdog_thresh", []byte("1"), 0); err != nil {
		return err
	}
	const turns = 1 << 23 // the most that bpf_loop takes
	// bpf_loop(n, callback, R6, 0)
	loop := func(n int32, callback string) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Imm(asm.R1, n),
			asm.Instruction{OpCode: asm.LoadImmOp(asm.DWord), Dst: asm.R2, Src: asm.PseudoFunc, Constant: -1}.WithReference(callback),
			asm.Mov.Reg(asm.R3, asm.R6),
			asm.Mov.Imm(asm.R4, 0),
			asm.FnLoop.Call(),
		}
	}
	number := &btf.Int{Name: "long", Size: 8, Encoding: btf.Signed}
	function := func(first asm.Instruction, name string, linkage btf.FuncLinkage, params ...btf.FuncParam) asm.Instruction {
		f := &btf.Func{Name: name, Type: &btf.FuncProto{Return: number, Params: params}, Linkage: linkage}
		return btf.WithFuncMetadata(first.WithSymbol(name), f)
	}
	callback := func(first asm.Instruction, name string) asm.Instruction {
		return function(first, name, btf.StaticFunc, btf.FuncParam{Name: "i", Type: number}, btf.FuncParam{Name: "until", Type: number})
	}
	program := slices.Concat(asm.Instructions{
		function(asm.FnKtimeGetNs.Call(), "begin", btf.GlobalFunc, btf.FuncParam{Name: "ctx", Type: number}),
		asm.LoadImm(asm.R1, int64(5*time.Second), asm.DWord),
		asm.Add.Reg(asm.R0, asm.R1),
		asm.StoreMem(asm.R10, -8, asm.R0, asm.DWord), // when to end
		asm.Mov.Reg(asm.R6, asm.R10),
		asm.Add.Imm(asm.R6, -8),
	}, loop(turns, "outer"), asm.Instructions{
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		callback(asm.Mov.Reg(asm.R6, asm.R2), "outer"),
	}, loop(1000, "inner"), asm.Instructions{
		asm.FnKtimeGetNs.Call(),
		asm.LoadMem(asm.R1, asm.R6, 0, asm.DWord),
		asm.JGT.Reg(asm.R0, asm.R1, "enough"),
		asm.Mov.Imm(asm.R0, 0),
		asm.Return(),
		asm.Mov.Imm(asm.R0, 1).WithSymbol("enough"),
		asm.Return(),
		callback(asm.Mov.Imm(asm.R0, 0), "inner"),
		asm.Return(),
	})
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, Instructions: program, License: "GPL"})
	if err != nil {
		return err
	}
	_, err = p.Run(&ebpf.RunOptions{})
	return errors.Join(err, p.Close())
}

// TestLockup: a real one, with the kernel's own words.
func TestLockup(t *testing.T) {
	c := machine(t, "lockup")
	var stderr bytes.Buffer
	c.Stderr = &stderr
	result, err := vm.Run(t.Context(), c)
	qt.Check(t, qt.ErrorMatches(err, `(?s)kernel 6.12 was in trouble while the program ran, whose exit status was 0: .*L, a soft lockup.*`+
		`BUG: soft lockup - CPU#\d stuck for \d+s! \[vm\.test:\d+\].*`))
	qt.Check(t, qt.Equals(result.ExitCode, 0), qt.Commentf("%s", stderr.String()))
}
