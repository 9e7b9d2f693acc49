# Ends when Litestream's first snapshot has its final name.
until [ -d "$1" ] && find "$1" -name '*.snapshot.lz4' | grep -q .; do sleep 0.02; done
