package filter

// parse reads an expression. An empty one is nil: all packets.
//
// The grammar is that of pcap-filter(7), where "and" and "or" have the same precedence, "not" binds closest, and a name or
// number without qualifiers has those of the one before it.
func parse(expression string) (node, error) {
	tokens, err := lex(expression)
	if err != nil {
		return nil, err
	}
	if len(tokens) == 1 {
		return nil, nil
	}
	p := parser{tokens: tokens}
	n, _, err := p.expression(qualifiers{})
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != end {
		return nil, p.unexpected(t)
	}
	return n, nil
}

type parser struct {
	tokens []token
	last   span // of the token that was read
	depth  int
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens, p.last = p.tokens[1:], t.span
	}
	return t
}

// accept takes the next token if it is one of those words or operators.
func (p *parser) accept(texts ...string) (token, bool) {
	if t := p.peek(); t.is(texts...) {
		return p.next(), true
	}
	return token{}, false
}

// deepest bounds how deep parentheses, "not" and minus signs are nested, and thereby the stack.
const deepest = 200

// nest counts one level of nesting; the result ends it.
func (p *parser) nest() (leave func(), err error) {
	if p.depth++; p.depth > deepest {
		return nil, refuse(p.peek().span, "nested more than %d levels deep", deepest)
	}
	return func() { p.depth-- }, nil
}

// operand is what has been read where several kinds of things may stand: a condition, or else a number.
type operand struct {
	node
	// q are the qualifiers for a name that follows.
	q qualifiers
	// id says that the condition is a name or number that has borrowed its qualifiers, or a list of such.
	id     bool
	number number32
}

// expression reads up to the end or a closing parenthesis. q are the qualifiers before it.
func (p *parser) expression(q qualifiers) (node, qualifiers, error) {
	first, err := p.condition(q)
	if err != nil {
		return nil, q, err
	}
	return p.rest(first)
}

// rest reads what is joined to a first condition.
func (p *parser) rest(first operand) (node, qualifiers, error) {
	left, q := first.node, first.q
	for {
		joint, ok := p.accept("and", "or", "&&", "||")
		if !ok {
			return left, q, nil
		}
		right, err := p.condition(q)
		if err != nil {
			return nil, q, err
		}
		left, q = join(joint, left, right.node), right.q
	}
}

func join(joint token, left, right node) node {
	if joint.is("and", "&&") {
		return andNode{left, right}
	}
	return orNode{left, right}
}

// condition reads what stands between "and" and "or". A number that is compared with nothing is one that borrows qualifiers.
func (p *parser) condition(q qualifiers) (operand, error) {
	o, err := p.operand(q)
	if err != nil || o.node != nil {
		return o, err
	}
	n, err := q.number(o.number)
	return operand{node: n, q: q, id: true}, err
}

func (p *parser) operand(q qualifiers) (operand, error) {
	leave, err := p.nest()
	if err != nil {
		return operand{}, err
	}
	defer leave()
	t := p.peek()
	switch {
	case t.is("not", "!"):
		p.next()
		o, err := p.condition(q)
		o.node = notNode{o.node}
		return o, err
	case t.kind == name, t.kind == address4, t.kind == address6, t.kind == hardware:
		n, err := p.named(q)
		return operand{node: n, q: q, id: true}, err
	case t.is("("):
		return p.parenthesis(q)
	case t.kind == number, t.is("len", "length", "-"), t.kind == word && p.tokens[1].is("["):
		n, err := p.arithmetic()
		if err != nil {
			return operand{}, err
		}
		return p.comparison(n)
	}
	return p.term()
}

// parenthesis reads a group, which is a number, a list of names that borrow qualifiers, or an expression.
func (p *parser) parenthesis(q qualifiers) (operand, error) {
	open := p.next()
	o, err := p.operand(q)
	if err != nil {
		return o, err
	}
	if o.node == nil && p.peek().is(")") {
		p.next()
		number, err := p.arithmeticFrom(o.number, 0)
		if err != nil {
			return o, err
		}
		return p.comparison(number)
	}
	if o.node == nil { // the first of a list
		if o.node, err = q.number(o.number); err != nil {
			return o, err
		}
		o.q, o.id = q, true
	}
	if o.id {
		o.node, err = p.list(q, o.node)
	} else {
		o.node, _, err = p.rest(o)
		o.q = q
	}
	if err != nil {
		return o, err
	}
	return o, p.close(open)
}

func (p *parser) close(open token) error {
	t := p.peek()
	switch {
	case t.is(")"):
		p.next()
		return nil
	case t.kind == end:
		return refuse(open.span, "this parenthesis is not closed")
	}
	return p.unexpected(t)
}

// list reads what is joined to the first of a list of names that share qualifiers.
func (p *parser) list(q qualifiers, left node) (node, error) {
	for {
		joint, ok := p.accept("and", "or", "&&", "||")
		if !ok {
			return left, nil
		}
		if t := p.peek(); t.kind == word && !t.is("not") {
			return nil, refuse(t.span, "in a list of names in parentheses, %s must be a name or number like the first", t.shown())
		}
		right, err := p.id(q)
		if err != nil {
			return nil, err
		}
		left = join(joint, left, right)
	}
}

// id reads what qualifiers are for: a name, a number, an address, or a list of such in parentheses.
func (p *parser) id(q qualifiers) (node, error) {
	leave, err := p.nest()
	if err != nil {
		return nil, err
	}
	defer leave()
	t := p.peek()
	switch {
	case t.is("not", "!"):
		p.next()
		n, err := p.id(q)
		return notNode{n}, err
	case t.is("("):
		p.next()
		first, err := p.id(q)
		if err != nil {
			return nil, err
		}
		n, err := p.list(q, first)
		if err != nil {
			return nil, err
		}
		return n, p.close(t)
	case t.kind == number:
		p.next()
		return q.number(constantNumber{span: t.span, value: t.value})
	}
	return p.named(q)
}

// comparison reads what a number is compared with. What is compared with nothing is a number still.
func (p *parser) comparison(left number32) (operand, error) {
	t, ok := p.accept(">", ">=", "<", "<=", "=", "==", "!=")
	if !ok {
		return operand{number: left}, nil
	}
	right, err := p.arithmetic()
	if err != nil {
		return operand{}, err
	}
	r := relationNode{span: left.place().to(right.place()), left: left, right: right}
	switch t.text {
	case ">":
		r.comparison = greater
	case ">=":
		r.comparison = greaterEqual
	case "<":
		r.comparison, r.opposite = greaterEqual, true
	case "<=":
		r.comparison, r.opposite = greater, true
	case "!=":
		r.comparison, r.opposite = equal, true
	default:
		r.comparison = equal
	}
	return operand{node: r}, nil
}

// unexpected refuses what stands where "and", "or", the end or a parenthesis should.
func (p *parser) unexpected(t token) error {
	switch {
	case t.is(")"):
		return refuse(t.span, "no parenthesis was opened that this one could close")
	case t.kind == operator:
		return refuse(t.span, "%s has no meaning here", t.shown())
	case t.is("mask"):
		return refuse(t.span, "a mask is for an address with dots, as in net 10.0.0.0 mask 255.0.0.0")
	}
	return refuse(t.span, "%s follows without \"and\" or \"or\"%s", t.shown(), didYouMean(t))
}
