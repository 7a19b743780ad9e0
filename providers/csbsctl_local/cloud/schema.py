"""The tables of the simulated cloud. Instants are RFC 3339 texts, markers and metadata are JSON, sizes are bytes."""

from __future__ import annotations

FORMAT = 1

SCHEMA = """
CREATE TABLE servers (
  number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, name TEXT NOT NULL, state TEXT NOT NULL,
  zone TEXT, metadata TEXT NOT NULL, tags TEXT NOT NULL, created_at TEXT NOT NULL, image TEXT,
  marker TEXT, claim TEXT UNIQUE);
CREATE INDEX servers_by_name ON servers (name);

CREATE TABLE volumes (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, size INTEGER NOT NULL, bootable INTEGER NOT NULL,
  backing TEXT NOT NULL UNIQUE, state TEXT NOT NULL, created_at TEXT NOT NULL,
  era INTEGER NOT NULL DEFAULT 1, boot TEXT NOT NULL DEFAULT '',
  marker TEXT, claim TEXT UNIQUE, details TEXT NOT NULL DEFAULT '{}');

CREATE TABLE attachments (
  server TEXT NOT NULL REFERENCES servers (id) ON DELETE CASCADE,
  volume TEXT NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
  position INTEGER NOT NULL, PRIMARY KEY (server, position)) WITHOUT ROWID;
CREATE INDEX attachments_by_volume ON attachments (volume);

-- where changed-block tracking can start from: the era that a snapshot of a volume closed
CREATE TABLE marks (
  snapshot TEXT NOT NULL, volume TEXT NOT NULL REFERENCES volumes (id) ON DELETE CASCADE,
  era INTEGER NOT NULL, PRIMARY KEY (volume, snapshot)) WITHOUT ROWID;

CREATE TABLE snapshots (
  id TEXT PRIMARY KEY, server TEXT NOT NULL, record TEXT NOT NULL, taken_at TEXT NOT NULL,
  method TEXT NOT NULL, evidence TEXT NOT NULL, marker TEXT NOT NULL, claim TEXT NOT NULL UNIQUE);

CREATE TABLE frozen (
  snapshot TEXT NOT NULL REFERENCES snapshots (id) ON DELETE CASCADE,
  volume TEXT NOT NULL, position INTEGER NOT NULL, backing TEXT NOT NULL, size INTEGER NOT NULL,
  fill TEXT, PRIMARY KEY (snapshot, volume)) WITHOUT ROWID;
CREATE INDEX frozen_by_backing ON frozen (backing);

-- disks whose bytes come from elsewhere, granule by granule, when somebody reads them or in the background
CREATE TABLE fills (backing TEXT PRIMARY KEY, source TEXT NOT NULL) WITHOUT ROWID;

-- restored volumes that have taken the place of others, so that a repeated swap finds itself done
CREATE TABLE swapped (volume TEXT PRIMARY KEY, target TEXT NOT NULL, claim TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX swapped_by_claim ON swapped (claim);

CREATE TABLE images (
  id TEXT PRIMARY KEY, name TEXT NOT NULL, backup TEXT, size INTEGER NOT NULL, created_at TEXT NOT NULL,
  state TEXT NOT NULL, content TEXT NOT NULL, marker TEXT NOT NULL, claim TEXT NOT NULL UNIQUE);

CREATE TABLE faults (
  number INTEGER PRIMARY KEY, step TEXT NOT NULL, server TEXT, error TEXT NOT NULL, remaining INTEGER);

CREATE TABLE latencies (step TEXT PRIMARY KEY, seconds REAL NOT NULL) WITHOUT ROWID;

CREATE TABLE fences (
  vault TEXT NOT NULL, server TEXT NOT NULL, fence INTEGER NOT NULL, PRIMARY KEY (vault, server)) WITHOUT ROWID
"""
