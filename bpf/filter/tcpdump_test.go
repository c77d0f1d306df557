package filter

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// tcpdump is the reference: what it compiles, and what it refuses to.
type tcpdump struct{ path string }

// newTcpdump skips the test where there is no tcpdump, except in CI, which must have it.
func newTcpdump(tb testing.TB) tcpdump {
	path, err := exec.LookPath("tcpdump")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/tcpdump")
	}
	if err != nil {
		if os.Getenv("CI") == "true" {
			tb.Fatalf("find the reference to compare with: %v", err)
		}
		tb.Skipf("the reference to compare with is missing (package tcpdump): %v", err)
	}
	return tcpdump{path}
}

// refused is what tcpdump says of an expression that it does not compile.
type refused string

func (r refused) Error() string { return string(r) }

// neverTrue is what it says if no packet can match.
const neverTrue refused = "expression rejects all packets"

var dataLinks = map[Link]string{Ethernet: "EN10MB", IP: "RAW"}

// compile returns the program as text. It fails with a refused.
func (t tcpdump) compile(link Link, expression string, more ...string) (string, error) {
	args := append([]string{"-y", dataLinks[link], "-ddd"}, more...)
	command := exec.Command(t.path, append(args, "--", expression)...)
	var out, complaint bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaint
	var exit *exec.ExitError
	if err := command.Run(); errors.As(err, &exit) {
		text := strings.TrimSpace(complaint.String())
		return "", refused(strings.TrimPrefix(text[strings.LastIndex(text, "\n")+1:], "tcpdump: "))
	} else if err != nil {
		return "", fmt.Errorf("run tcpdump: %w", err)
	}
	return out.String(), nil
}

// machineOf is golang.org/x/net/bpf's for a program.
func machineOf(text string) (*bpf.VM, error) {
	var raw []bpf.RawInstruction
	for _, line := range strings.Split(strings.TrimSpace(text), "\n")[1:] {
		var i bpf.RawInstruction
		if _, err := fmt.Sscan(line, &i.Op, &i.Jt, &i.Jf, &i.K); err != nil {
			return nil, fmt.Errorf("read %q: %w", line, err)
		}
		raw = append(raw, i)
	}
	program, all := bpf.Disassemble(withoutNegation(raw))
	if !all {
		return nil, fmt.Errorf("an instruction has no meaning in %q", text)
	}
	return bpf.NewVM(program)
}

// withoutNegation replaces an instruction that the machine does not have: A = -A becomes A = (A ^ 0xffffffff) + 1.
func withoutNegation(program []bpf.RawInstruction) []bpf.RawInstruction {
	const negation, xor, plus = 0x84, 0xa4, 0x04
	position := make([]int, len(program)+1) // of each instruction in the result
	for i, instruction := range program {
		position[i+1] = position[i] + 1
		if instruction.Op == negation {
			position[i+1]++
		}
	}
	var result []bpf.RawInstruction
	for i, instruction := range program {
		skip := func(n int) int { return position[i+1+n] - position[i+1] }
		switch {
		case instruction.Op == negation:
			result = append(result, bpf.RawInstruction{Op: xor, K: ^uint32(0)}, bpf.RawInstruction{Op: plus, K: 1})
			continue
		case instruction.Op == 0x05: // a jump without a condition
			instruction.K = uint32(skip(int(instruction.K)))
		case instruction.Op&0x07 == 0x05:
			instruction.Jt, instruction.Jf = uint8(skip(int(instruction.Jt))), uint8(skip(int(instruction.Jf)))
		}
		result = append(result, instruction)
	}
	return result
}
