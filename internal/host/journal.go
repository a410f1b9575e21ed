package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const journalFile = "undo.json"

// journal is the undo list: what was changed, oldest first. It is on the disk
// before the change is made. Its directory is locked while it is open, so that
// two gateways cannot share it and Down cannot pull the rug from under one.
type journal struct {
	Boot      string   `json:"boot"`      // what it tells of is gone after a reboot
	Namespace string   `json:"namespace"` // and with its network namespace
	Changes   []change `json:"changes"`

	dir     *os.File
	foreign bool // written in another network namespace
}

func hasJournal(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, journalFile))
	return err == nil
}

// openJournal locks the state directory and reads what the last run left in it.
func openJournal(dir, namespace string) (*journal, error) {
	if dir == "" {
		return nil, errors.New("state.dir is empty: the undo list needs a directory, such as /run/sleight")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		d.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("state directory %s is in use: a gateway is running: stop it first, or give this one another state.dir", dir)
		}
		return nil, fmt.Errorf("lock state directory %s: %w", dir, err)
	}
	j := &journal{dir: d}
	if err := j.read(namespace); err != nil {
		d.Close()
		return nil, err
	}
	return j, nil
}

func (j *journal) path() string { return filepath.Join(j.dir.Name(), journalFile) }

func (j *journal) read(namespace string) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	now := strings.TrimSpace(string(boot))
	b, err := os.ReadFile(j.path())
	switch {
	case errors.Is(err, os.ErrNotExist):
	case err != nil:
		return fmt.Errorf("undo list: %w", err)
	default:
		if err := json.Unmarshal(b, j); err != nil {
			return fmt.Errorf("undo list %s is damaged: %w: look for leftovers with `ip rule` and `ip route show table all proto %d`, then delete it", j.path(), err, Protocol)
		}
	}
	if j.Boot != now {
		j.Changes = nil
	}
	j.foreign = len(j.Changes) > 0 && j.Namespace != namespace
	if !j.foreign || j.Boot != now {
		j.Namespace = namespace
	}
	j.Boot = now
	return nil
}

// write puts the list on the disk: a new file, synced, in the place of the old
// one. An empty list is no file.
func (j *journal) write() error {
	if len(j.Changes) == 0 {
		if err := os.Remove(j.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("undo list: %w", err)
		}
		return j.dir.Sync()
	}
	b, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return err
	}
	if err := writeSynced(j.path()+".new", b); err != nil {
		return fmt.Errorf("undo list: %w", err)
	}
	if err := os.Rename(j.path()+".new", j.path()); err != nil {
		return fmt.Errorf("undo list: %w", err)
	}
	return j.dir.Sync()
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// make writes the change down and makes it. It reports whether it did: a sysctl
// may be high enough, and what the last run left may stand already.
func (j *journal) make(k *kernel, c change) (bool, error) {
	if contains(j.Changes, c) {
		return false, c.apply(k)
	}
	if c.Sysctl != nil {
		s := *c.Sysctl
		c.Sysctl = &s
		if needed, err := s.prepare(k); err != nil || !needed {
			return false, err
		}
	}
	j.Changes = append(j.Changes, c)
	if err := j.write(); err != nil {
		j.Changes = j.Changes[:len(j.Changes)-1]
		return false, err
	}
	if err := c.apply(k); err != nil {
		j.Changes = j.Changes[:len(j.Changes)-1]
		return false, errors.Join(err, j.write())
	}
	return true, nil
}

// takeBack undoes the changes that match, the newest first. What cannot be
// undone stays in the list.
func (j *journal) takeBack(k *kernel, match func(change) bool) error {
	return j.takeBackIf(k, func(_ int, c change) bool { return match(c) })
}

// takeBackFrom undoes what was changed after the first n changes.
func (j *journal) takeBackFrom(k *kernel, n int) error {
	return j.takeBackIf(k, func(i int, _ change) bool { return i >= n })
}

func (j *journal) takeBackIf(k *kernel, match func(int, change) bool) error {
	var errs []error
	var kept []change
	for i, c := range slices.Backward(j.Changes) {
		if match(i, c) {
			err := c.undo(k)
			if err == nil {
				continue
			}
			errs = append(errs, err)
		}
		kept = append(kept, c)
	}
	slices.Reverse(kept)
	j.Changes = kept
	return errors.Join(append(errs, j.write())...)
}

func (j *journal) close() error { return j.dir.Close() }
