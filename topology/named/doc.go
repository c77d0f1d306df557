// Package named keeps networks that outlive the process that built them, for use by hand.
//
// A lab has a name. Its nodes are network namespaces with the names LAB.NODE, which ip netns and its relatives know. What
// belongs to a lab is written down before it is made, so that a lab whose building was cut short, in whatever way, can be taken
// down as well as one that is complete.
//
//	err := named.Up(ctx, "office", network)
//	lab, err := named.Find("office")
//	err = lab.Exec("fw", []string{"ip", "addr"}, os.Environ())
//	err = lab.Down(ctx, named.DownOptions{})
//
// [Keep] does the same to a network that is running already, such as that of a test that failed.
package named
