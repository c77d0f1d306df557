// Package netns makes anonymous network namespaces and runs functions inside them.
//
// A namespace made by [New] has no name and no bind mount. Only a file descriptor of this process holds it, so the
// kernel removes it when the process ends, however it ends. [NS.Do] runs a function inside, from any goroutine:
//
//	ns, err := netns.New()
//	if err != nil {
//		return err
//	}
//	defer ns.Close()
//	err = ns.Do(func() error {
//		conn, err = net.Listen("tcp4", "127.0.0.1:80")
//		return err
//	})
//
// A socket belongs for ever to the namespace it was opened in. Open it inside Do and use it anywhere. A goroutine that
// the function starts runs outside.
package netns
