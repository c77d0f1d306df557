package parallel

import (
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/onsi/gomega"

	"github.com/waybill-dev/waybill/harness"
)

// processesVariable says how many processes Ginkgo starts. The kernel lets ten trackers be at a function. Without it there are
// three, because a tracker takes half a minute to open and close where the machine is emulated; make flake has eight.
const processesVariable = "WAYBILL_PARALLEL_PROCESSES"

// TestProcesses runs the suite as ginkgo -p does, in several processes at once.
func TestProcesses(t *testing.T) {
	g := gomega.NewWithT(t)
	if os.Getenv(gateVariable) != "" {
		return // this is one of them
	}
	if os.Getenv("WAYBILL_KERNEL_ROLE") != "stable" && os.Getenv("CI") != "" { // of four kernels, one is enough
		t.Skip("is for stable kernels")
	}
	processes := 3
	if text := os.Getenv(processesVariable); text != "" {
		var err error
		processes, err = strconv.Atoi(text)
		g.Expect(err).NotTo(gomega.HaveOccurred())
	}
	harness.NeedFunctions(t)
	ginkgo, err := exec.LookPath(cmp.Or(os.Getenv("GINKGO"), "ginkgo"))
	if err != nil {
		if os.Getenv(harness.StrictEnv) == "1" {
			t.Fatal(err)
		}
		t.Skip("needs ginkgo, in PATH or where GINKGO says: make test-suites brings it into the VM")
	}
	// This process's own is not to be in the way.
	g.Expect(harness.Shutdown()).To(gomega.Succeed())

	folder := t.TempDir()
	gate, log := filepath.Join(folder, "gate"), filepath.Join(folder, "log")
	g.Expect(os.WriteFile(log, nil, 0o644)).To(gomega.Succeed())
	opened := make(chan error, 1)
	listener, err := net.Listen("unix", gate)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	go func() { opened <- openGate(listener, processes) }()

	command := exec.CommandContext(t.Context(), ginkgo, fmt.Sprintf("--procs=%d", processes), "--no-color", "--timeout=0", os.Args[0])
	command.Env = append(os.Environ(), gateVariable+"="+gate, logVariable+"="+log)
	said, err := command.CombinedOutput()
	_ = listener.Close()
	g.Expect(err).NotTo(gomega.HaveOccurred(), string(said))
	g.Expect(string(said)).To(gomega.ContainSubstring("Ran %d of %d Specs", specs, specs))
	g.Expect(<-opened).To(gomega.Succeed())

	// They were at work at the same time.
	text, err := os.ReadFile(log)
	g.Expect(err).NotTo(gomega.HaveOccurred())
	type work struct{ process, began, ended int64 }
	var works []work
	for line := range strings.Lines(string(text)) {
		var w work
		_, err := fmt.Sscan(line, &w.process, &w.began, &w.ended)
		g.Expect(err).NotTo(gomega.HaveOccurred())
		works = append(works, w)
	}
	g.Expect(works).To(gomega.HaveLen(specs))
	most := 0
	for _, at := range works {
		busy := make(map[int64]bool)
		for _, w := range works {
			if w.began <= at.ended && at.ended <= w.ended {
				busy[w.process] = true
			}
		}
		most = max(most, len(busy))
	}
	g.Expect(most).To(gomega.BeNumerically(">", 1))
	t.Logf("%d processes had labs at once", most)
}

// openGate lets the processes go on when all of them have come.
func openGate(listener net.Listener, processes int) error {
	var waiting []net.Conn
	for range processes {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		waiting = append(waiting, connection)
	}
	for _, connection := range waiting {
		if err := connection.Close(); err != nil {
			return err
		}
	}
	return nil
}
