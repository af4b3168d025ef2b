package controlplane

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// serviceAddress is that of the Service kubernetes: the first of the range that envtest gives kube-apiserver.
const serviceAddress = "10.0.0.1"

// writeCertificates writes the serving certificate of kube-apiserver, and the keys of service account tokens, into the folder of its
// certificates, and returns the certificate of the authority. envtest would write a certificate without the address and the names of the Service
// kubernetes, which pods use. It leaves a folder that has one as it is.
func writeCertificates(folder, address string) (authority []byte, err error) {
	chain, key, err := cert.GenerateSelfSignedCertKey(address,
		[]net.IP{net.ParseIP(serviceAddress), net.IPv4(127, 0, 0, 1)},
		[]string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"})
	if err != nil {
		return nil, fmt.Errorf("make a certificate for kube-apiserver: %w", err)
	}
	// The certificate itself comes first, then that of its authority.
	if _, authority = pem.Decode(chain); len(authority) == 0 {
		return nil, errors.New("make a certificate for kube-apiserver: its authority is missing")
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalECPrivateKey(signer)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, err
	}
	return authority, errors.Join(
		os.WriteFile(filepath.Join(folder, "apiserver.crt"), chain, 0o600),
		os.WriteFile(filepath.Join(folder, "apiserver.key"), key, 0o600),
		os.WriteFile(filepath.Join(folder, "sa-signer.key"), pem.EncodeToMemory(&pem.Block{Type: keyutil.ECPrivateKeyBlockType, Bytes: private}), 0o600),
		os.WriteFile(filepath.Join(folder, "sa-signer.crt"), pem.EncodeToMemory(&pem.Block{Type: keyutil.PublicKeyBlockType, Bytes: public}), 0o600),
	)
}
