package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// Go reads the roots of a system once, when the program starts; so these tests start this one again.
const rootsWanted = "TEST_PUBLIC_ROOTS_WANTED"

func TestWhereASystemHasNoRootsTheProgramBringsItsOwn(t *testing.T) {
	restart(t, "yes", filepath.Join(t.TempDir(), "not-there"))
}

func TestTheRootsOfASystemComeBeforeTheProgramsOwn(t *testing.T) {
	restart(t, "no", writeRoot(t))
}

func restart(t *testing.T, wanted, file string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestTheRootsOfThisProcess$", "-test.v")
	cmd.Env = append(os.Environ(), rootsWanted+"="+wanted, "SSL_CERT_FILE="+file, "SSL_CERT_DIR="+t.TempDir())
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

func TestTheRootsOfThisProcess(t *testing.T) {
	wanted := os.Getenv(rootsWanted)
	if wanted == "" {
		t.Skip("the other tests of this file start it, with an environment")
	}
	for root := range bundle.Roots() {
		certificate, err := x509.ParseCertificate(root.Certificate)
		if err != nil {
			t.Fatal(err)
		}
		_, err = certificate.Verify(x509.VerifyOptions{CurrentTime: certificate.NotBefore.Add(time.Hour), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
		_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
		if wanted == "yes" && err != nil || wanted == "no" && !unknown {
			t.Errorf("a public root is trusted: wanted %s, got %v", wanted, err)
		}
		return // all come the same way
	}
	t.Error("there are no roots")
}

// writeRoot returns a file with a root of its own.
func writeRoot(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Unix(1<<33, 0), IsCA: true, BasicConstraintsValid: true}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
