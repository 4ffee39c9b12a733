-- The URL of a sighting of one: its entity_id is a hash, and clients print descriptors as
-- they are. Entries outlive what they are about, so it stands here. NULL for other kinds.
ALTER TABLE sighting ADD COLUMN url TEXT;
