package vm

// This file is what host and guest agree on. Both ends are the same executable, so it needs no versions.

// guestMarker is a parameter on the guest kernel's command line. The kernel does not know it and therefore passes it
// to the first process as an environment variable (Documentation/admin-guide/kernel-parameters.rst).
const guestMarker = "WAYBILL_GUEST"

// specPath is where the guest finds its spec in the initramfs.
const specPath = "/waybill/spec.json"

// The ports of the guest's virtio-serial device. Port 0 is kept for consoles by QEMU.
const (
	portControl = 1
	portStdout  = 2
	portStderr  = 3
)

// spec tells the guest what to do.
type spec struct {
	// Transport are modules that the channels to the host need; they are loaded before anything else.
	Transport []string
	Modules   []string // files below guestModules, each after those that it needs
	Path      string   // of the program
	Args      []string // with the program's name first
	Env       []string
	Dir       string
	// Probe: there is no program, only show that the machine boots.
	Probe bool
}

// message is one line of JSON on the control channel.
type message struct {
	Kind messageKind `json:"kind"`
	// Signal: the number of the signal to send.
	Signal int `json:"signal,omitempty"`
	// Failed: what went wrong before the program ran.
	Error string `json:"error,omitempty"`
	// Exited: the exit status, how much was written, and /proc/sys/kernel/tainted.
	Code   int    `json:"code,omitempty"`
	Stdout int64  `json:"stdout,omitempty"`
	Stderr int64  `json:"stderr,omitempty"`
	Taint  uint64 `json:"taint,omitempty"`
}

type messageKind string

const (
	// From the guest.
	msgHello   messageKind = "hello"   // the guest's init runs and the channels work
	msgStarted messageKind = "started" // the program runs
	msgFailed  messageKind = "failed"  // the program could not be started
	msgExited  messageKind = "exited"  // the program has ended
	// From the host.
	msgSignal messageKind = "signal"
	msgBye    messageKind = "bye" // everything was received: power off
)
