// Package docs checks the Markdown files of the repository: that their links and anchors exist, and that README.md leads to the answers
// that users look for. Read is also for the tests that run what a file shows.
package docs

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// Page is what the tests need of a Markdown file.
type Page struct {
	Headings []Heading
	Links    []Link
	Blocks   []Block
	// Words is how many words the page has, without those of code blocks and of the addresses of links.
	Words int
}

// Heading is a heading of a page.
type Heading struct {
	Anchor string // as GitHub names it, without #
	Body   string // the text below it, up to the next heading of the same level or a higher one
}

// Link is a link or an image.
type Link struct {
	Text, Target string
}

// Block is a fenced block of code.
type Block struct {
	Language, Code string
}

// Read parses a Markdown file as GitHub does.
func Read(file string) (*Page, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	page, err := parse(source)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return page, nil
}

// Section returns the heading that a link to this anchor leads to.
func (p *Page) Section(anchor string) (Heading, bool) {
	for _, heading := range p.Headings {
		if heading.Anchor == anchor {
			return heading, true
		}
	}
	return Heading{}, false
}

func parse(source []byte) (*Page, error) {
	document := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source))
	page, names := &Page{}, anchors{}
	err := ast.Walk(document, func(node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch node := node.(type) {
		case *ast.Text:
			page.Words += len(strings.Fields(string(node.Value(source))))
		case *ast.Heading:
			page.Headings = append(page.Headings, Heading{Anchor: names.next(plain(node, source)), Body: body(node, source)})
		case *ast.Link:
			page.Links = append(page.Links, Link{Text: plain(node, source), Target: string(node.Destination)})
		case *ast.Image:
			page.Links = append(page.Links, Link{Text: plain(node, source), Target: string(node.Destination)})
		case *ast.FencedCodeBlock:
			page.Blocks = append(page.Blocks, Block{Language: string(node.Language(source)), Code: string(node.Lines().Value(source))})
		case *ast.HTMLBlock, *ast.RawHTML:
			// A link in HTML would not be checked. Comments hold none.
			if html := rawHTML(node, source); !strings.HasPrefix(strings.TrimSpace(html), "<!--") && strings.ContainsAny(html, "=") {
				return ast.WalkStop, fmt.Errorf("HTML with an attribute, whose links are not checked: %s", html)
			}
		}
		return ast.WalkContinue, nil
	})
	return page, err
}

func rawHTML(node ast.Node, source []byte) string {
	if inline, ok := node.(*ast.RawHTML); ok {
		return string(inline.Segments.Value(source))
	}
	return string(node.Lines().Value(source))
}

// plain returns the text of a node, without its markup.
func plain(node ast.Node, source []byte) string {
	var words strings.Builder
	for child := node.FirstChild(); child != nil; child = child.NextSibling() {
		switch child := child.(type) {
		case *ast.Text:
			words.Write(child.Value(source))
			if child.SoftLineBreak() {
				words.WriteByte(' ')
			}
		case *ast.String:
			words.Write(child.Value)
		default:
			words.WriteString(plain(child, source))
		}
	}
	return words.String()
}

// body returns the source between a heading and the next one of its level or above.
func body(heading *ast.Heading, source []byte) string {
	from := heading.Lines().At(heading.Lines().Len() - 1).Stop
	for next := heading.NextSibling(); next != nil; next = next.NextSibling() {
		if other, ok := next.(*ast.Heading); ok && other.Level <= heading.Level {
			return string(source[from:other.Lines().At(0).Start])
		}
	}
	return string(source[from:])
}

// anchors counts the names that the headings of a page have taken.
type anchors map[string]int

// next returns the anchor that GitHub gives to a heading: in small letters, with a hyphen for each space and without other signs. A name
// that is taken gets a number.
func (a anchors) next(heading string) string {
	name := strings.Map(func(sign rune) rune {
		switch {
		case sign == ' ':
			return '-'
		case sign == '-', sign == '_', unicode.In(sign, unicode.L, unicode.M, unicode.N):
			return unicode.ToLower(sign)
		}
		return -1
	}, strings.TrimSpace(heading))
	free := name
	for _, taken := a[free]; taken; _, taken = a[free] {
		a[name]++
		free = fmt.Sprintf("%s-%d", name, a[name])
	}
	a[free] = 0
	return free
}

// elsewhere reports whether a target is outside of the repository: an address with a scheme, such as https.
func elsewhere(target string) bool {
	address, err := url.Parse(target)
	return err == nil && address.Scheme != ""
}
