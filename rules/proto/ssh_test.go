package proto

import (
	"strings"
	"testing"
)

// kexInit builds the binary packet of a KEXINIT (RFC 4253, sections 6 and 7.1).
func kexInit(kex, enc, mac, comp string) string {
	p := "\x14" + strings.Repeat("c", 16)
	for _, list := range []string{kex, "ssh-rsa", enc, "x", mac, "y", comp, "z", "", ""} {
		p += sized(4, list)
	}
	p += "\x00\x00\x00\x00\x00"
	pad := 8 - (5+len(p))%8 + 4
	return be(len(p)+1+pad, 4) + be(pad, 1) + p + strings.Repeat("\x00", pad)
}

// The example of https://github.com/salesforce/hassh, README: Cyberduck 6.7.1.
func TestHASSHOfItsReadme(t *testing.T) {
	stream := "SSH-2.0-Cyberduck/6.7.1.28683 (Mac OS X/10.13.6) (x86_64)\r\n" + kexInit(
		"curve25519-sha256@libssh.org,diffie-hellman-group-exchange-sha256,ecdh-sha2-nistp521,ecdh-sha2-nistp384,ecdh-sha2-nistp256,diffie-hellman-group-exchange-sha1,diffie-hellman-group1-sha1,diffie-hellman-group14-sha1,diffie-hellman-group14-sha256,diffie-hellman-group15-sha512,diffie-hellman-group16-sha512,diffie-hellman-group17-sha512,diffie-hellman-group18-sha512,diffie-hellman-group14-sha256@ssh.com,diffie-hellman-group15-sha256,diffie-hellman-group15-sha256@ssh.com,diffie-hellman-group15-sha384@ssh.com,diffie-hellman-group16-sha256,diffie-hellman-group16-sha384@ssh.com,diffie-hellman-group16-sha512@ssh.com,diffie-hellman-group18-sha512@ssh.com",
		"aes128-cbc,aes128-ctr,aes192-cbc,aes192-ctr,aes256-cbc,aes256-ctr,blowfish-cbc,blowfish-ctr,cast128-cbc,cast128-ctr,idea-cbc,idea-ctr,serpent128-cbc,serpent128-ctr,serpent192-cbc,serpent192-ctr,serpent256-cbc,serpent256-ctr,3des-cbc,3des-ctr,twofish128-cbc,twofish128-ctr,twofish192-cbc,twofish192-ctr,twofish256-cbc,twofish256-ctr,twofish-cbc,arcfour,arcfour128,arcfour256",
		"hmac-sha1,hmac-sha1-96,hmac-md5,hmac-md5-96,hmac-sha2-256,hmac-sha2-512",
		"zlib@openssh.com,zlib,none")
	wantFields(t, stream, "ssh", `banner="SSH-2.0-Cyberduck/6.7.1.28683 (Mac OS X/10.13.6) (x86_64)" proto="2.0" software="Cyberduck/6.7.1.28683" hassh="8a8ae540028bf433cd68356c1b9e8d5b"`)
}

func TestSSH(t *testing.T) {
	wantFields(t, "SSH-2.0-Go\r\n", "ssh", `banner="SSH-2.0-Go" proto="2.0" software="Go"`)
	wantFields(t, "SSH-1.99-a-b c\n\x00\x00\x00\x0c\x04\x15", "ssh", `banner="SSH-1.99-a-b c" proto="1.99" software="a-b"`)
	wantFields(t, "SSH-\n", "ssh", `banner="SSH-"`)
	f := read("SSH-2.0-Go\r\n\xff\xff\xff\xff\xff", 100)
	if st := f.Status(SSHHASSH); st != Absent {
		t.Errorf("no KEXINIT comes, but hassh is %d", st)
	}
}
