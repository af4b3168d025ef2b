package reactorsession

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// Reasons of conditions and events are API: clients compare them, and docs list them. So each is a constant of the package api/v1alpha1.
func TestReasonsAreConstantsOfTheAPI(t *testing.T) {
	reasonAt := map[string]int{"Warning": 0, "Normal": 0, "tell": 0, "waitFor": 0, "stalledFor": 0, "set": 2} // which argument
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	positions := token.NewFileSet()
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(positions, entry.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			if at, ok := reasonAt[calledName(call)]; ok && at < len(call.Args) {
				if _, literal := call.Args[at].(*ast.BasicLit); literal {
					t.Errorf("%s: the reason of %s is written as text", positions.Position(call.Pos()), calledName(call))
				}
			}
			return true
		})
	}
}

func calledName(call *ast.CallExpr) string {
	switch called := call.Fun.(type) {
	case *ast.Ident:
		return called.Name
	case *ast.SelectorExpr:
		return called.Sel.Name
	default:
		return ""
	}
}
