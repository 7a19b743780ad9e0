# What the services stand on: Ceph (block volumes, and an S3 server for the backups), MariaDB, RabbitMQ.

# start_ceph: one monitor, one manager, one OSD on a sparse file, one radosgw; nothing authenticates on loopback
start_ceph() {
    mkdir -p "$STATE"/ceph/{mon,mgr,osd,rgw,no-modules} "$RUN/ceph"
    once ceph-mon make_monitor
    start ceph-mon ceph-mon -i a -f
    await ceph-mon timeout 5 ceph -s
    start ceph-mgr ceph-mgr -i x -f
    once ceph-osd make_osd
    start ceph-osd ceph-osd -i 0 -f
    await ceph-osd sh -c 'ceph osd stat | grep -q "1 up"'
    start radosgw radosgw -n client.rgw -f --ms_mon_client_mode=crc --auth_client_required=none
    once ceph-pool make_pool
}

make_monitor() {
    monmaptool --create --clobber --fsid "$(cat "$ETC/fsid")" --addv a "[v2:$ADDRESS:3300,v1:$ADDRESS:6789]" \
        "$STATE/ceph/monmap" && ceph-mon -i a --mkfs --monmap "$STATE/ceph/monmap"
}

make_osd() {
    local id
    id=$(cat /proc/sys/kernel/random/uuid)
    ceph osd new "$id" && ceph-osd -i 0 --mkfs --osd-uuid "$id" --no-mon-config
}

make_pool() { ceph osd pool create volumes 16 && ceph osd pool application enable volumes rbd; }

make_s3_user() {
    radosgw-admin user create --uid=cinder --display-name=cinder --access-key="$PASSWORD" \
        --secret-key="$PASSWORD-secret" >"$LOG/s3-user.log" 2>&1
}

# start_sql: MariaDB on a socket only, tuned for a short life
start_sql() {
    mkdir -p "$STATE/sql" "$STATE/tmp"
    once sql mariadb-install-db --no-defaults --user=root --datadir="$STATE/sql" \
        --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve >>"$LOG/sql-setup.log" 2>&1
    start sql mariadbd --no-defaults --user=root --datadir="$STATE/sql" --socket="$SQL" --tmpdir="$STATE/tmp" \
        --skip-networking --skip-log-bin --performance-schema=OFF --innodb-buffer-pool-size=96M \
        --innodb-log-file-size=48M --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 \
        --max-connections=250 --character-set-server=utf8mb3
    await sql mariadb -uroot -S "$SQL" -e 'select 1'
}

start_rabbit() {
    mkdir -p "$STATE/rabbit"
    : >"$ETC/rabbitmq/enabled_plugins"
    echo '[].' >"$ETC/rabbitmq/enabled_plugins"
    export HOME=$STATE/rabbit RABBITMQ_NODENAME=testbed@localhost RABBITMQ_MNESIA_BASE=$STATE/rabbit/mnesia \
        RABBITMQ_LOG_BASE=$LOG RABBITMQ_CONFIG_FILE=$ETC/rabbitmq/rabbitmq \
        RABBITMQ_ENABLED_PLUGINS_FILE=$ETC/rabbitmq/enabled_plugins RABBITMQ_PID_FILE=$STATE/rabbit/pid \
        RABBITMQ_DIST_PORT=25672 ERL_EPMD_ADDRESS=$ADDRESS \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none'
    start epmd epmd -address $ADDRESS
    start rabbit /usr/lib/rabbitmq/bin/rabbitmq-server
    await rabbit listens 5672
}

DATABASES="keystone glance placement cinder neutron nova_api nova_cell1 nova_cell0"

# make_databases: run all migrations, or load what an earlier run of the same versions kept
make_databases() {
    local kept name
    kept=$CACHE/schemas-$(sha256sum "$HERE/requirements.txt" | cut -c1-16).sql.gz
    for name in $DATABASES; do
        mariadb -uroot -S "$SQL" -e "create database if not exists $name character set utf8mb3"
    done
    if [ -s "$kept" ]; then
        zcat "$kept" | mariadb -uroot -S "$SQL"
    else
        migrate || return 1
        # shellcheck disable=SC2086 # a list of words
        mariadb-dump -uroot -S "$SQL" --databases $DATABASES | gzip -1 >"$kept.new" && mv "$kept.new" "$kept"
    fi
    nova-manage --config-file "$ETC/nova/nova.conf" cell_v2 create_cell --name cell1 >>"$LOG/migrate-nova.log" 2>&1 ||
        [ $? = 2 ]
}

migrate() {
    local jobs=() job
    migrate_nova >"$LOG/migrate-nova.log" 2>&1 & jobs+=($!)
    keystone-manage --config-file "$ETC/keystone/keystone.conf" db_sync >"$LOG/migrate-keystone.log" 2>&1 & jobs+=($!)
    cinder-manage --config-file "$ETC/cinder/cinder.conf" db sync >"$LOG/migrate-cinder.log" 2>&1 & jobs+=($!)
    glance-manage --config-file "$ETC/glance-api/glance-api.conf" db_sync >"$LOG/migrate-glance.log" 2>&1 & jobs+=($!)
    placement-manage --config-file "$ETC/placement/placement.conf" db sync >"$LOG/migrate-placement.log" 2>&1 & jobs+=($!)
    neutron-db-manage --config-file "$ETC/neutron/neutron.conf" upgrade head >"$LOG/migrate-neutron.log" 2>&1 & jobs+=($!)
    for job in "${jobs[@]}"; do wait "$job" || return 1; done
}

migrate_nova() {
    local nova="nova-manage --config-file $ETC/nova/nova.conf"
    $nova api_db sync && $nova cell_v2 map_cell0 --database_connection \
        "mysql+pymysql://root@localhost/nova_cell0?unix_socket=$SQL&charset=utf8mb4" && $nova db sync
}
