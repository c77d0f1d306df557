package vm

// This file is what host and guest agree on. Both ends are the same executable, so it needs no versions.

// guestMarker is a parameter on the guest kernel's command line. The kernel does not know it and therefore passes it
// to the first process as an environment variable (Documentation/admin-guide/kernel-parameters.rst).
const guestMarker = "WAYBILL_GUEST"

// consoleWord begins a line on the console that says why the guest could not get as far as the control channel.
const consoleWord = "waybill: "

// specPath is where the guest finds its spec in the initramfs.
const specPath = "/waybill/spec.json"

// The ports of the guest's virtio-serial device. Port 0 is kept for consoles by QEMU.
const (
	portControl = 1
	portStdout  = 2
	portStderr  = 3
	portOutputs = 4
)

// spec tells the guest what to do.
type spec struct {
	// Transport are modules that the channels to the host need; they are loaded before anything else.
	Transport []string
	Modules   []string // files below guestModules, each after those that it needs
	Path      string   // of the program
	Args      []string // with the program's name first
	Env       []string
	// Input: there is a standard input. Terminal: it is a terminal, of that size.
	Input    bool
	Terminal *terminalSize
	Dir      string
	// Outputs are the paths that are sent back, and OutputLimit how much of them, in bytes. OutputDirs are folders made
	// for them.
	Outputs     []string
	OutputDirs  []string
	OutputLimit int64
	// Probe: there is no program, only show that the machine boots.
	Probe bool
}

// message is one line of JSON on the control channel.
type message struct {
	Kind messageKind `json:"kind"`
	// Signal: the number of the signal to send.
	Signal int `json:"signal,omitempty"`
	// Resize: the size of the terminal.
	Size *terminalSize `json:"size,omitempty"`
	// InputEnd: how much input there was, in bytes.
	Input int64 `json:"input,omitempty"`
	// Failed, Sent: what went wrong.
	Error string `json:"error,omitempty"`
	// Exited: the exit status, how much was written, what was added to /proc/sys/kernel/tainted, the kernel's log from
	// the first sign of trouble on, the names of the processes that were killed for want of memory, and the file systems that
	// are full.
	Code   int      `json:"code,omitempty"`
	Stdout int64    `json:"stdout,omitempty"`
	Stderr int64    `json:"stderr,omitempty"`
	Taint  uint64   `json:"taint,omitempty"`
	Log    []string `json:"log,omitempty"`
	Killed []string `json:"killed,omitempty"`
	Full   []string `json:"full,omitempty"`
	// Sent: which files were left out because of the limit, and their size.
	Left     []string `json:"left,omitempty"`
	LeftSize int64    `json:"leftSize,omitempty"`
}

type messageKind string

const (
	// From the guest.
	msgHello   messageKind = "hello"   // the guest's init runs and the channels work
	msgStarted messageKind = "started" // the program runs
	msgFailed  messageKind = "failed"  // the program could not be started
	msgExited  messageKind = "exited"  // the program has ended
	msgSent    messageKind = "sent"    // what it wrote was sent
	// From the host.
	msgSignal   messageKind = "signal"
	msgResize   messageKind = "resize"
	msgInputEnd messageKind = "inputEnd"
	msgBye      messageKind = "bye" // everything was received: power off
)
