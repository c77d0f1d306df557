package harness

import "context"

// Dump is the lab's network, as it is now, as a script of ip, tc, nft and sysctl commands that builds it by hand; see
// [topology.Running.Dump].
func (l *Lab) Dump(ctx context.Context) string {
	l.t.Helper()
	text, err := l.running.Dump(ctx)
	if err != nil {
		l.t.Fatalf("dump the lab: %v", err)
	}
	return text
}
