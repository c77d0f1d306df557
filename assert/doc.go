// Package assert holds gomega matchers over journeys. Dot-import it into tests, next to gomega:
//
//	Expect(record.Of(ssh)).To(Reach("ip_forward", At(fw)))
//	Expect(record.Of(ssh)).To(BeDropped(Reason("NETFILTER_DROP"), At(fw), ByPolicy("forward")))
//	Expect(record.Of(ssh)).NotTo(Reach("tcp_v4_rcv", At(server)))
//
// What was seen was seen, so a matcher that finds what it looks for succeeds on any record. One that does not find it
// answers with an error that wraps [journey.ErrInconclusive] unless the record's evidence is complete, and such an
// error fails the assertion whichever way it was asked, with To and with NotTo.
//
// Places are named by milestones, such as [Forward], which every trace observes and every kernel has, or by functions that the
// test armed. Reach and the other matchers that look at a place can be put in a sequence by InOrder and FollowExactly.
//
// Matchers compose with gomega's And, Or, Not, WithTransform, ContainElement and HaveEach, which pass such errors on; [AnyOf]
// is Or that asks the others when one could not tell. Those of gstruct do not: they make an error a mismatch, so that it fails
// To and passes NotTo. Inside of them, negate each matcher by itself, never the whole.
//
// What packets have to do with each other is asked of the one it happened to: BeRejected, BeAnsweredBy, BeFragmentedInto,
// BeSegmentedInto, BeMergedInto.
//
// What happened to the packet itself: BeUnmodified, HaveFieldChanged and BeMarked look at its bytes and its mark, BeEncapsulated at the
// tunnels around it, BeCloned and BeFlooded at the ways that it took at once, TakeAtMost at the time that it took.
//
// Whole journeys are compared by MatchGolden, with a file that is reviewed with the test, and by TakeSameJourneyAs, with one of another
// ruleset, address family or kernel. Package journey/shape says what makes no difference.
//
// Outcomes (BeDropped, BeDelivered and the like) are asked of every branch of the journey that is not auxiliary, unless On selects
// branches or AnyBranch asks for one of them.
//
// Misuse is an error that says what would be right: a function that was not armed, a node of another network, a drop
// reason that the kernel does not have, a device or a chain that is nowhere, an option that says nothing to the matcher.
package assert
