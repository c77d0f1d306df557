package vm

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-quicktest/qt"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
)

func TestConsoleKeepsLastLines(t *testing.T) {
	var out bytes.Buffer
	c := &consoleLog{out: &out}
	text := "\x1bc\x1b[?7l\x1b[2Jfirst\r\nsecond\r\n\r\nthi"
	for _, b := range []byte(text) {
		_, err := c.Write([]byte{b})
		qt.Assert(t, qt.IsNil(err))
	}
	qt.Check(t, qt.Equals(out.String(), text))
	qt.Check(t, qt.DeepEquals(c.all(), []string{"first", "second", "thi"}))
	qt.Check(t, qt.DeepEquals(c.last(1), []string{"thi"}))
	_, _ = c.Write([]byte(strings.Repeat("more\n", 2*consoleLines)))
	qt.Check(t, qt.HasLen(c.all(), consoleLines))
}

func TestConsoleKnowsPanic(t *testing.T) {
	for _, test := range []struct {
		console, reason string
		slice           []string
	}{
		{"fine\nbridge: a word about something\n", "", nil},
		// A BUG line alone is not the end.
		{"BUG: soft lockup - CPU#0 stuck for 26s\n", "", nil},
		{
			"before\n[    1.0] BUG: kernel NULL pointer dereference, address: 0\n[    1.1] RIP: 0010:f+0x1\n" +
				"[    1.2] Kernel panic - not syncing: Fatal exception in interrupt\n[    1.3] Rebooting\n",
			"Fatal exception in interrupt",
			[]string{
				"[    1.0] BUG: kernel NULL pointer dereference, address: 0", "[    1.1] RIP: 0010:f+0x1",
				"[    1.2] Kernel panic - not syncing: Fatal exception in interrupt", "[    1.3] Rebooting",
			},
		},
	} {
		c := &consoleLog{}
		_, _ = c.Write([]byte(test.console))
		reason, slice := c.panicked()
		qt.Check(t, qt.Equals(reason, test.reason))
		qt.Check(t, qt.DeepEquals(slice, test.slice))
	}
}

func TestErrorTexts(t *testing.T) {
	for want, err := range map[string]error{
		"kernel 6.12 did not start the program: QEMU ended\nlast lines of its console:\n  | a\n  | b": &BootError{
			Kernel: "6.12", Reason: "QEMU ended", Console: []string{"a", "b"},
		},
		"kernel 6.12 did not start the program: load kernel module x: exec format error": &BootError{
			Kernel: "6.12", Reason: "load kernel module x: exec format error",
		},
		"kernel 6.12 panicked: Attempted to kill init!\nlast lines of its console:\n  | a": &PanicError{
			Kernel: "6.12", Message: "Attempted to kill init!", Console: []string{"a"},
		},
		"the program did not end within 1m30s and was killed: give it more time, or see its goroutines above": &DeadlineError{
			Kernel: "6.12", Timeout: 90 * time.Second, Console: []string{"a"},
		},
		"interrupted (terminated)": &InterruptedError{Signal: syscall.SIGTERM},
	} {
		qt.Check(t, qt.Equals(err.Error(), want))
	}
}

func TestBadConfigurations(t *testing.T) {
	good := Config{Kernel: Kernel{Image: "/dev/null"}, Program: "true"}
	dir := t.TempDir()
	for want, change := range map[string]func(*Config){
		"100 MiB of memory are too few for a guest: give it 256 or more":          func(c *Config) { c.MemoryMiB = 100 },
		"a guest with -1 CPUs cannot run: give it 1 or more":                      func(c *Config) { c.CPUs = -1 },
		"a guest with 2 CPUs cannot count instructions: give it 1":                func(c *Config) { c.CountInstructions, c.CPUs = true, 2 },
		"a guest under kvm cannot count instructions: use auto or tcg":            func(c *Config) { c.CountInstructions, c.Accel = true, KVM },
		"no program to run was named":                                             func(c *Config) { c.Program = "" },
		`unknown accelerator "hvf": use auto, kvm or tcg`:                         func(c *Config) { c.Accel = "hvf" },
		"no kernel was named: give the path of a kernel image (vmlinuz)":          func(c *Config) { c.Kernel = Kernel{} },
		"kernel image /no/such/vmlinuz does not exist":                            func(c *Config) { c.Kernel.Image = "/no/such/vmlinuz" },
		"kernel image " + dir + " is not a file: name the vmlinuz itself":         func(c *Config) { c.Kernel.Image = dir },
		"kernel image /dev/null is not a file: name the vmlinuz itself":           func(*Config) {},
		`"nothing" is no variable for the program's environment: write KEY=VALUE`: func(c *Config) { c.Env = []string{"nothing"} },
	} {
		c := good
		change(&c)
		_, err := Run(t.Context(), c)
		qt.Check(t, qt.ErrorMatches(err, literally(want)))
	}
}

func TestNoQEMU(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	_, err := findQEMU()
	qt.Assert(t, qt.ErrorIs(err, ErrNoQEMU))
	qt.Assert(t, qt.Equals(err.Error(), "qemu-system-x86_64 is not installed: run ci/setup, "+
		"or install your distribution's package with it (qemu-system-x86)"))
}

func TestFindProgram(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{
		"/no/such/program": "program /no/such/program does not exist",
		dir:                "program " + dir + " is a folder",
		"no-such-program": "program no-such-program is not installed: it is neither in PATH nor in " +
			"/usr/local/sbin, /usr/sbin, /sbin",
		"/proc/version": "program /proc/version is not executable: run chmod +x on it",
	} {
		_, err := findProgram(name)
		qt.Check(t, qt.ErrorMatches(err, literally(want)))
	}
}

func TestQEMUArguments(t *testing.T) {
	c := Config{MemoryMiB: 512, CPUs: 1, Append: "nokaslr loglevel=7"}
	tcg := strings.Join(qemuArgs(c, TCG), " ")
	qt.Check(t, qt.StringContains(tcg, "-accel tcg,thread=single,tb-size=1024 -cpu max,-cx16,-erms,-fsrm"))
	qt.Check(t, qt.StringContains(tcg, "-m 512 -smp 1"))
	qt.Check(t, qt.IsFalse(strings.Contains(tcg, "icount")))
	qt.Check(t, qt.StringContains(tcg, "oops=panic mitigations=off WAYBILL_GUEST=1 quiet nokaslr loglevel=7"))
	kvm := strings.Join(qemuArgs(c, KVM), " ")
	qt.Check(t, qt.StringContains(kvm, "-accel kvm -cpu host"))
	counting, err := Config{Program: "true", CountInstructions: true}.withDefaults()
	qt.Assert(t, qt.IsNil(err))
	qt.Check(t, qt.Equals(counting.CPUs, 1))
	qt.Check(t, qt.Equals(counting.Accel, TCG))
	qt.Check(t, qt.StringContains(strings.Join(qemuArgs(counting, TCG), " "), "-cpu max,-cx16,-erms,-fsrm -icount shift=0 "))
	c.Console = &bytes.Buffer{}
	qt.Check(t, qt.IsFalse(strings.Contains(strings.Join(qemuArgs(c, TCG), " "), "quiet")))
}

// TestUncompressedImage makes images as the kernel's build does: a setup header, and a compressed ELF file with its size.
func TestUncompressedImage(t *testing.T) {
	note := []byte{4, 0, 0, 0, 4, 0, 0, 0, 18, 0, 0, 0, 'X', 'e', 'n', 0, 1, 2, 3, 4}
	plain := func(notes []byte) []byte {
		var b bytes.Buffer
		for _, part := range []any{
			elf.Header64{
				Ident:   [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
				Type:    uint16(elf.ET_EXEC),
				Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
			},
			elf.Prog64{Type: uint32(elf.PT_NOTE), Off: 64 + 56, Filesz: uint64(len(notes)), Memsz: uint64(len(notes))},
			notes,
		} {
			qt.Assert(t, qt.IsNil(binary.Write(&b, binary.LittleEndian, part)))
		}
		return b.Bytes()
	}
	image := func(content []byte, compress func(io.Writer) (io.WriteCloser, error)) []byte {
		var payload bytes.Buffer
		w, err := compress(&payload)
		qt.Assert(t, qt.IsNil(err))
		_, err = w.Write(content)
		qt.Assert(t, qt.IsNil(err))
		qt.Assert(t, qt.IsNil(w.Close()))
		payload.Write(binary.LittleEndian.AppendUint32(nil, uint32(len(content))))
		raw := make([]byte, 2*512)
		raw[offsetSetupSectors] = 1
		copy(raw[offsetHeaderMagic:], "HdrS")
		binary.LittleEndian.PutUint16(raw[offsetVersion:], 0x020f)
		binary.LittleEndian.PutUint32(raw[offsetPayload:], 3)
		binary.LittleEndian.PutUint32(raw[offsetPayloadLength:], uint32(payload.Len()))
		return slices.Concat(raw, []byte("pad"), payload.Bytes(), []byte("what follows the payload"))
	}
	withXZ := func(w io.Writer) (io.WriteCloser, error) { return xz.NewWriter(w) }
	withLZ4 := func(w io.Writer) (io.WriteCloser, error) {
		z := lz4.NewWriter(w)
		return z, z.Apply(lz4.LegacyOption(true))
	}
	withNothing := func(w io.Writer) (io.WriteCloser, error) { return nopCloser{w}, nil }

	kernel := plain(note)
	for _, compress := range []func(io.Writer) (io.WriteCloser, error){withXZ, withLZ4} {
		got, err := uncompressImage(image(kernel, compress))
		qt.Assert(t, qt.IsNil(err))
		qt.Check(t, qt.DeepEquals(got, kernel))
	}
	_, err := uncompressImage(image(plain(nil), withXZ))
	qt.Check(t, qt.ErrorMatches(err, "it has no PVH entry point"))
	_, err = uncompressImage(image(kernel, withNothing))
	qt.Check(t, qt.ErrorMatches(err, "its kind of compression is not known here"))
	whole := image(kernel, withXZ)
	_, err = uncompressImage(whole[:len(whole)-60])
	qt.Check(t, qt.ErrorMatches(err, "its payload ends beyond the file"))
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func TestImageThatIsNone(t *testing.T) {
	for _, raw := range [][]byte{nil, []byte("short"), bytes.Repeat([]byte{0}, 4096)} {
		_, err := uncompressImage(raw)
		_, ok := errors.AsType[*imageError](err)
		qt.Check(t, qt.IsTrue(ok), qt.Commentf("%v", err))
	}
}
