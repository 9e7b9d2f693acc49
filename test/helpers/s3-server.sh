#!/usr/bin/env bash
# A real object store on loopback for tests: Ceph's RADOS Gateway with one monitor and one OSD, all below DIR.
#   s3-server.sh start DIR PORT    (the monitor takes PORT+1, HTTPS PORT+2 when TLS_CERT names a file)
#   s3-server.sh stop DIR
# No root is needed. Objects lie in memory unless STORE=bluestore.
set -euo pipefail
what=$1
dir=$(realpath -m "$2")
export CEPH_CONF=$dir/ceph.conf

if [ "$what" = stop ]; then
  for daemon in rgw osd mon; do
    pid=$(cat "$dir/$daemon.pid" 2>/dev/null) || continue
    kill -9 "$pid" 2>/dev/null || true
  done
  exit 0
fi

port=$3
mkdir -p "$dir/mon" "$dir/osd"
: >"$dir/keyring"
fsid=$(cat /proc/sys/kernel/random/uuid)
cat >"$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$((port + 1))/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
run dir = $dir
crash dir = $dir
admin socket = $dir/\$name.asok
log file = $dir/\$name.log
keyring = $dir/keyring
mon data = $dir/mon
mon max pg per osd = 2000
mon data avail crit = 0
mon data avail warn = 0
paxos propose interval = 0.02
paxos min wait = 0.01
osd data = $dir/osd
osd objectstore = ${STORE:-memstore}
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
osd class load list = *
osd class default list = *
osd heartbeat grace = 3600
memstore device bytes = 8589934592
bluestore block size = 21474836480
bluestore cache autotune = false
bluestore cache size = 67108864
rgw enable apis = s3
rgw frontends = beast tcp_nodelay=1 endpoint=127.0.0.1:$port${TLS_CERT:+ ssl_endpoint=127.0.0.1:$((port + 2)) ssl_certificate=$TLS_CERT}
rgw run sync thread = false
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = testkey-1=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=
CONF

monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$((port + 1))]" "$dir/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$dir/monmap" >/dev/null 2>&1
ceph-mon -i a -f >"$dir/mon.out" 2>&1 &
echo $! >"$dir/mon.pid"
osd=$(cat /proc/sys/kernel/random/uuid)
ceph osd new "$osd" 0 >/dev/null 2>&1
ceph-osd -i 0 --mkfs --osd-uuid "$osd" >"$dir/mkfs.out" 2>&1
ceph-osd -i 0 -f >"$dir/osd.out" 2>&1 &
echo $! >"$dir/osd.pid"
for _ in $(seq 150); do ceph osd stat 2>/dev/null | grep -q '1 up' && break; sleep 0.1; done
radosgw-admin user create --uid=test --display-name=test --access-key="$S3_ACCESS_KEY" --secret-key="$S3_SECRET_KEY" >/dev/null 2>&1
for class in STANDARD_IA GLACIER DEEP_ARCHIVE; do
  radosgw-admin zonegroup placement add --rgw-zonegroup default --placement-id default-placement --storage-class $class >/dev/null 2>&1
  radosgw-admin zone placement add --rgw-zone default --placement-id default-placement --storage-class $class --data-pool default.rgw.buckets.data >/dev/null 2>&1
done
radosgw -n client.admin -f >"$dir/rgw.out" 2>&1 &
echo $! >"$dir/rgw.pid"
for _ in $(seq 400); do
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && exit 0
  sleep 0.05
done
echo "the object store did not start; see $dir/*.log" >&2
exit 1
