package main

// What `sleight --help` and `sleight COMMAND --help` say, for somebody who sees it for
// the first time: what it does, an example, the files, the exit codes.

const sleightHelp = `Packets for addresses that belong to nobody real are routed into a TUN
device. Sleight answers them as a decoy, reads what the client says, and,
when a rule matches, replays the conversation to a real host and joins the
live connection to it. The client keeps its connection.

Begin here:
  sleight lab                     see it happen, in namespaces of its own
  sleight check -c FILE           is this configuration right?
  sleight doctor -c FILE          is this machine ready for it?
  sleight run -c FILE             the gateway, in the foreground
  sleight down                    take back what a killed gateway left
  sleight rules test --pcap FILE  what would the rules have done?

The least that a configuration has:
  version: 1
  routes: [203.0.113.0/24]
  decoys:
    - {name: web, service: {type: http}}

Files:
  /etc/sleight/sleight.yaml       the configuration, unless -c names another

sleight COMMAND --help tells more of each.

Exit codes: 0 done, 1 the check or the run failed, 2 wrong usage.`

const runHelp = `Opens the devices, sets up routes (routing.setup: manage), and answers for
the claimed prefixes. SIGTERM or Ctrl-C stops it: then it takes back what it
has changed, but for what keeps the backends contained. Needs root. The
configuration is checked first, and nothing is touched if it has a mistake.
SIGHUP makes it read its configuration anew; connections that have begun go
on under the old one, and a file with a mistake changes nothing.

Examples:
  sudo sleight run -c sleight.yaml
  sudo sleight run -c sleight.yaml | jq 'select(.event_type == "switch")'

Files:
  /etc/sleight/sleight.yaml   the configuration, unless -c names another
  /run/sleight/undo.json      what was changed on this machine (state.dir)
  /run/sleight/memory         what rules remember (memory.file)
  /run/sleight/control.sock   for sleight reload, status, flows, show, kill
  standard output             events as JSON lines (events.file)
  standard error              the log (log.level, log.format)

Exit codes: 0 stopped when asked to, 1 it could not start or has failed,
2 wrong usage.`

const checkHelp = `Reads a configuration and reports every mistake at once, each in one line:
  FILE:LINE:COLUMN: what is wrong; what to do
The machine itself is doctor's: here nothing of it is looked at or changed.
Needs no root.

Examples:
  sleight check -c sleight.yaml
  sleight check -c sleight.yaml --coverage

--coverage also names the addresses and ports of routes for which no decoy
answers; what is left to default is no mistake, and the exit code stays 0.
Nor does a warning change it: of a rule that can only be true when it is too
late for a switch.

Files:
  /etc/sleight/sleight.yaml   the configuration, unless -c names another;
                              pages in it may name further files

Exit codes: 0 there is no mistake, 1 there is one, or the file cannot be
read, 2 wrong usage.`

const labHelp = `Builds an attacker, a gateway and a real host in network namespaces of its
own, lets a connection change hands, and proves it from captures on both
sides. Nothing outside these namespaces is touched. Needs no root where the
kernel lets users make namespaces, and takes about half a minute.

Examples:
  sleight lab
  sleight lab --dir lab                 the files of the run into ./lab
  sleight lab --shell attacker          then attack it yourself, with curl
  sleight lab --keep -c sleight.yaml    your configuration, left running

Files, in the directory that is printed (about 220 MB):
  s.pcapng, backend.pcapng   what S and the real host saw
  ladder.txt, ladder.svg     the switch, segment by segment
  events.jsonl, gateway.log  what the gateway told
  real.log                   the real host's own log
  sleight.yaml               the gateway's configuration, without -c

Exit codes: 0 every check held, 1 one did not, or the lab could not be built,
2 wrong usage.`

const doctorHelp = `Looks at this machine for what a configuration needs: routes, policy rules,
forwarding, the backends' devices, packet filters, and whether the kernel can
carry the bulk of spliced flows. Each finding is one line, and beneath a
problem stands the command that mends it. Changes nothing. Run it as root,
where the packet filters can be read.

Examples:
  sudo sleight doctor -c sleight.yaml
  sudo sleight doctor -c sleight.yaml --json | jq '.[] | select(.ok | not)'

Files:
  /etc/sleight/sleight.yaml   the configuration, unless -c names another

Exit codes: 0 nothing is in the way, 1 something is, or the configuration
has a mistake, 2 wrong usage.`

const downHelp = `Takes back what a gateway has changed on this machine and did not take back
itself: all of it after a kill, and after a stop what keeps the backends
contained. Prints each change. Needs root, and that no gateway is running.

Examples:
  sudo sleight down
  sudo sleight down -c sleight.yaml
  sudo sleight down --state-dir /run/sleight

Files:
  /run/sleight/undo.json      the list of what was changed (state.dir)
  /etc/sleight/sleight.yaml   read for state.dir, unless -c names another;
                              without any, /run/sleight is taken

Exit codes: 0 everything is taken back, or there was nothing, 1 something
could not be, 2 wrong usage.`

const versionHelp = `Prints the version, or the commit where it was built from a checkout, and the
version of Go that built it.

Example:
  sleight version

Exit codes: 0 done, 2 wrong usage.`

const rulesHelp = `Rules are tried here without a network: nothing is sent, no root is needed.

  list      the rules that are used; of Suricata's those that a rule picks.
            --skipped: those that cannot be used, with the reason
  explain   what one rule needs before it is evaluated, and what it costs
  test      judges a capture's connections as the gateway would have: the
            same assembly, the capture's own time. Prints each verdict of a
            rule with its packet, and how often each rule has spoken
  bench     the same, and what each rule has cost

Captures are pcap or pcapng, of Ethernet (VLAN too), raw IP or Linux cooked.
Checksums are not asked for. --pcap takes a directory as well.

Examples:
  sleight rules list -c sleight.yaml --skipped | head
  sleight rules explain -c sleight.yaml 2034647
  sleight rules test -c sleight.yaml --pcap captures/ --json
  sleight rules bench -c sleight.yaml --pcap one.pcapng

Exit codes: 0 done, 1 the configuration has a mistake, there is no such rule
or the capture cannot be read, 2 wrong usage.`

const reloadHelp = `Makes a running gateway read its configuration, and all that it names, anew,
as SIGHUP does, and prints what has changed or each mistake. Connections that
have begun keep the rules under which they began. If there is a mistake, or a
change that needs a restart, nothing changes.

Examples:
  sudo sleight reload
  sudo sleight reload -c sleight.yaml

Files:
  /etc/sleight/sleight.yaml   read for control.socket and state.dir, unless
                              -c names another; it may have mistakes
  /run/sleight/control.sock   where the gateway listens (control.socket)

Exit codes: 0 reloaded, 1 not reloaded, or no gateway listens, 2 wrong usage.`

const statusHelp = `Prints how a running gateway stands: since when it runs, with what, how many
flows it has, and what has become of reloads.

Examples:
  sudo sleight status
  sudo sleight status --json | jq .reloads

Files:
  /run/sleight/control.sock   where the gateway listens (control.socket)

Exit codes: 0 done, 1 no gateway listens, 2 wrong usage.`

const flowsHelp = `Lists the live flows of a running gateway: the number that events call
flow_id, the phase, the client, the address that it dialled, the decoy, the
backend once there is one, ages, and bytes. The gateway is not held up: it
looks at one flow at a time, so the list is not of one moment.

Examples:
  sudo sleight flows
  sudo sleight flows --json | jq 'select(.phase == "spliced")'

Files:
  /run/sleight/control.sock   where the gateway listens (control.socket)

Exit codes: 0 done, 1 no gateway listens, 2 wrong usage.`

const showHelp = `Tells all of one live flow, as a JSON object. ID is the flow_id of events and
of sleight flows.

Example:
  sudo sleight show 4503599627370496

Files:
  /run/sleight/control.sock   where the gateway listens (control.socket)

Exit codes: 0 done, 1 no such flow lives, or no gateway listens,
2 wrong usage.`

const killHelp = `Ends a live flow: the client and the backend are sent a reset each. A switch
that is under way is cancelled. The event flow_end has the reason killed. ID
is the flow_id of events and of sleight flows.

Example:
  sudo sleight kill 4503599627370496

Files:
  /run/sleight/control.sock   where the gateway listens (control.socket)

Exit codes: 0 done, 1 no such flow lives, or no gateway listens,
2 wrong usage.`

const tagHelp = `Gives a client a tag, a word for which rules ask: tagged(src, "ids"). A live
connection of the client is judged anew within 100 ms, so that an IDS, or
whoever reads a honeypot's log, can have it switched. The tag outlives a
restart, and ends by itself. A client is limits.client_prefix of the address.

Examples:
  sudo sleight tag 198.51.100.7 ids --for 24h
  sudo sleight tag 198.51.100.7 ids --for 0s     # take it away
  jq --unbuffered -r 'select(.event_type == "alert").src_ip' eve.json |
    while read -r a; do sudo sleight tag "$a" ids; done

Files:
  /run/sleight/control.sock   where the gateway listens (control.socket)

Exit codes: 0 done, 1 no gateway listens, 2 wrong usage.`

const memoryHelp = `Lists or clears what the rules of a running gateway remember of clients:
when each was here first and last, how many of its connections are known,
when one was switched, and its tags. Rules ask for it by seen, conns and
others (docs/rules.md). A client is limits.client_prefix of an address.

Examples:
  sudo sleight memory list
  sudo sleight memory list --json 198.51.100.0/24 | jq .tags
  sudo sleight memory clear 198.51.100.7
  sudo sleight memory clear --all

Files:
  /run/sleight/control.sock   where the gateway listens (control.socket)
  /run/sleight/memory         where it is kept over a restart (memory.file)

Exit codes: 0 done, 1 no gateway listens, 2 wrong usage.`
