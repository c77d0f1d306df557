package filter

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// metaNode is a condition about metadata.
type metaNode interface{}

type (
	metaAnd struct{ left, right metaNode }
	metaOr  struct{ left, right metaNode }
	metaNot struct{ operand metaNode }
	// metaTerm compares what fields lead to with a value; it is not zero if operator is empty.
	metaTerm struct {
		span
		steps    []metaStep
		operator string
		value    token
		negative bool // the value has a minus sign
		comparer      // set when it is known what the fields are
	}
	// metaStep is one field on the way.
	metaStep struct {
		span
		name string
		mask *maskToken
		cast token // its text is empty if there is none
	}
	maskToken struct {
		span
		value    uint64
		inverted bool
	}
)

var metaForms = []struct {
	kind
	*regexp.Regexp
}{
	{word, form(`[A-Za-z_][A-Za-z_0-9]*`)},
	{number, form(`[0-9][A-Za-z_0-9]*`)},
	{name, form(`"[^"]*"|'[^']*'`)}, // a string
	{operator, form(`==|!=|<=|>=|&&|\|\||[.:~<>()!=-]`)},
}

// lexMeta takes an expression apart. A name is a string here, without its quotes.
func lexMeta(expression string) ([]token, error) {
	var tokens []token
	for at := 0; ; {
		at += len(expression[at:]) - len(strings.TrimLeft(expression[at:], " \t\r\n"))
		if at == len(expression) {
			return append(tokens, token{kind: end, span: span{at, at}}), nil
		}
		t := token{}
		for _, f := range metaForms {
			if text := f.FindString(expression[at:]); len(text) > len(t.text) {
				t = token{kind: f.kind, text: text}
			}
		}
		switch letter, size := utf8.DecodeRuneInString(expression[at:]); {
		case t.text != "":
		case letter == '"' || letter == '\'':
			return nil, refuse(span{at, at + 1}, "this quote is not closed")
		default:
			return nil, refuse(span{at, at + size}, "%q has no meaning here", letter)
		}
		t.span = span{at, at + len(t.text)}
		at = t.end
		if t.kind == name {
			t.text = t.text[1 : len(t.text)-1]
		}
		tokens = append(tokens, t)
	}
}

// parseMeta reads an expression: "and" binds closer than "or", and "not" closest.
func parseMeta(expression string) (metaNode, error) {
	tokens, err := lexMeta(expression)
	if err != nil {
		return nil, err
	}
	p := parser{tokens: tokens}
	n, err := p.metaOr()
	if err != nil {
		return nil, err
	}
	switch t := p.peek(); {
	case t.kind == end:
		return n, nil
	case t.is(")"):
		return nil, refuse(t.span, "no parenthesis was opened that this one could close")
	case t.is("="):
		return nil, refuse(t.span, `write "==" to compare`)
	default:
		return nil, refuse(t.span, `expected "and", "or" or a comparison, found %s`, t.shown())
	}
}

func (p *parser) metaOr() (metaNode, error) {
	left, err := p.metaAnd()
	for err == nil {
		if _, ok := p.accept("or", "||"); !ok {
			break
		}
		var right metaNode
		right, err = p.metaAnd()
		left = metaOr{left, right}
	}
	return left, err
}

func (p *parser) metaAnd() (metaNode, error) {
	left, err := p.metaUnary()
	for err == nil {
		if _, ok := p.accept("and", "&&"); !ok {
			break
		}
		var right metaNode
		right, err = p.metaUnary()
		left = metaAnd{left, right}
	}
	return left, err
}

func (p *parser) metaUnary() (metaNode, error) {
	leave, err := p.nest()
	if err != nil {
		return nil, err
	}
	defer leave()
	if _, ok := p.accept("not", "!"); ok {
		n, err := p.metaUnary()
		return metaNot{n}, err
	}
	open, ok := p.accept("(")
	if !ok {
		return p.metaTerm()
	}
	n, err := p.metaOr()
	if err != nil {
		return nil, err
	}
	if _, ok := p.accept(")"); !ok {
		if t := p.peek(); t.kind != end {
			return nil, refuse(t.span, `expected "and", "or", a comparison or ")", found %s`, t.shown())
		}
		return nil, refuse(open.span, "this parenthesis is not closed")
	}
	return n, nil
}

func (p *parser) metaTerm() (metaNode, error) {
	first, ok := p.accept("sk_buff")
	if !ok {
		return nil, refuse(p.peek().span, "expected sk_buff and a field of it, as in sk_buff.mark, found %s", p.peek().shown())
	}
	term := &metaTerm{}
	for {
		if _, ok := p.accept("."); !ok {
			break
		}
		step, err := p.metaStep()
		if err != nil {
			return nil, err
		}
		term.steps = append(term.steps, step)
	}
	term.span = first.to(p.last)
	if len(term.steps) == 0 {
		return nil, refuse(term.span, "sk_buff alone is no condition: write a field of it, as in sk_buff.mark")
	}
	t, ok := p.accept("==", "!=", "<", "<=", ">", ">=")
	if !ok {
		return term, nil
	}
	term.operator = t.text
	_, term.negative = p.accept("-")
	term.value = p.next()
	if k := term.value.kind; k == number || !term.negative && (k == name || k == word) {
		return term, nil
	}
	return nil, refuse(term.value.span, "expected a number or a string, found %s", term.value.shown())
}

func (p *parser) metaStep() (metaStep, error) {
	t := p.next()
	if t.kind != word {
		return metaStep{}, refuse(t.span, "expected the name of a field, found %s", t.shown())
	}
	s := metaStep{span: t.span, name: t.text}
	for {
		if _, ok := p.accept(":"); !ok {
			return s, nil
		}
		tilde, inverted := p.accept("~")
		t := p.next()
		switch {
		case t.kind == number && s.mask == nil && s.cast.text == "":
			value, err := parseNumber(t)
			if err != nil {
				return s, err
			}
			s.mask = &maskToken{span: t.span, value: value, inverted: inverted}
			if inverted {
				s.mask.span = tilde.to(t.span)
			}
		case t.kind == word && s.cast.text == "" && !inverted:
			s.cast = t
		default:
			return s, refuse(t.span, "expected a mask or the name of a type, as in sk_buff._nfct:~0x7:nf_conn, found %s", t.shown())
		}
	}
}

func parseNumber(t token) (uint64, error) {
	value, err := strconv.ParseUint(t.text, 0, 64)
	if err != nil {
		return 0, refuse(t.span, "%s is no number of 64 bits (0x begins a hexadecimal one, 0b a binary one, 0 an octal one)", t.text)
	}
	return value, nil
}
