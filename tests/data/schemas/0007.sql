CREATE SEQUENCE public.account_version
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE public.account (
    tenant text NOT NULL,
    username text NOT NULL,
    login text NOT NULL,
    sealed bytea NOT NULL,
    details json NOT NULL,
    disabled boolean DEFAULT false NOT NULL,
    version bigint DEFAULT nextval('public.account_version'::regclass) NOT NULL,
    changed_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE ONLY public.account FORCE ROW LEVEL SECURITY;
CREATE TABLE public.contact (
    tenant text NOT NULL,
    pk bigint NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    version text DEFAULT ''::text NOT NULL,
    digest bytea NOT NULL,
    checksum bytea NOT NULL,
    names bigint NOT NULL,
    named boolean NOT NULL,
    callable smallint NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    body json NOT NULL
);
ALTER TABLE ONLY public.contact FORCE ROW LEVEL SECURITY;
CREATE SEQUENCE public.contact_pk
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 64;
CREATE TABLE public.crm_user (
    tenant text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    body json NOT NULL
);
ALTER TABLE ONLY public.crm_user FORCE ROW LEVEL SECURITY;
CREATE TABLE public.daemon (
    id text NOT NULL,
    place text NOT NULL,
    lasting boolean NOT NULL,
    wants integer DEFAULT 0 NOT NULL,
    has integer DEFAULT 0 NOT NULL,
    beat_at timestamp with time zone DEFAULT now() NOT NULL
);
CREATE TABLE public.device (
    tenant text NOT NULL,
    username text NOT NULL,
    device text NOT NULL,
    given json NOT NULL,
    mark bytea NOT NULL,
    given_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE ONLY public.device FORCE ROW LEVEL SECURITY;
CREATE TABLE public.entry (
    tenant text NOT NULL,
    sink text NOT NULL,
    number text NOT NULL,
    contact bigint,
    kind text,
    names bigint,
    acked json,
    acked_contact bigint,
    acked_kind text,
    acked_names bigint,
    sent json,
    moved_from text,
    state text NOT NULL,
    since timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    sent_at timestamp with time zone,
    tries integer DEFAULT 0 NOT NULL,
    misses integer DEFAULT 0 NOT NULL,
    code text DEFAULT ''::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL
);
ALTER TABLE ONLY public.entry FORCE ROW LEVEL SECURITY;
CREATE TABLE public.extension (
    tenant text NOT NULL,
    sink text NOT NULL,
    number text NOT NULL,
    wanted json,
    acked json,
    sent json,
    state text NOT NULL,
    since timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    code text DEFAULT ''::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL
);
ALTER TABLE ONLY public.extension FORCE ROW LEVEL SECURITY;
CREATE TABLE public.forgotten (
    tenant text NOT NULL,
    hash bytea NOT NULL,
    since timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.forgotten FORCE ROW LEVEL SECURITY;
CREATE TABLE public.held (
    tenant text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    loss text NOT NULL,
    shown boolean DEFAULT false NOT NULL,
    since timestamp with time zone NOT NULL,
    version text,
    digest bytea,
    checksum bytea,
    names bigint,
    named boolean,
    callable smallint,
    modified timestamp with time zone,
    body json
);
ALTER TABLE ONLY public.held FORCE ROW LEVEL SECURITY;
CREATE TABLE public.number (
    tenant text NOT NULL,
    number text NOT NULL,
    contact bigint NOT NULL,
    kind text NOT NULL,
    company boolean NOT NULL
);
ALTER TABLE ONLY public.number FORCE ROW LEVEL SECURITY;
CREATE TABLE public.owner (
    tenant text NOT NULL,
    daemon text,
    since timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE ONLY public.owner FORCE ROW LEVEL SECURITY;
CREATE TABLE public.removed (
    tenant text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    removed_at timestamp with time zone NOT NULL,
    version text NOT NULL,
    digest bytea NOT NULL,
    checksum bytea NOT NULL,
    names bigint NOT NULL,
    named boolean NOT NULL,
    callable smallint NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    body json NOT NULL
);
ALTER TABLE ONLY public.removed FORCE ROW LEVEL SECURITY;
CREATE TABLE public.run (
    tenant text NOT NULL,
    source text NOT NULL,
    started_at timestamp with time zone NOT NULL,
    seconds real NOT NULL,
    "full" boolean NOT NULL,
    read integer NOT NULL,
    added integer NOT NULL,
    changed integer NOT NULL,
    removed integer NOT NULL,
    unchanged integer NOT NULL,
    refused integer NOT NULL,
    lost integer NOT NULL,
    held integer NOT NULL,
    error text DEFAULT ''::text NOT NULL
);
ALTER TABLE ONLY public.run FORCE ROW LEVEL SECURITY;
CREATE TABLE public.salt (
    tenant text NOT NULL,
    salt bytea NOT NULL
);
ALTER TABLE ONLY public.salt FORCE ROW LEVEL SECURITY;
CREATE TABLE public.schema_version (
    version integer NOT NULL
);
CREATE TABLE public.sink (
    tenant text NOT NULL,
    name text NOT NULL,
    policy text DEFAULT ''::text NOT NULL,
    ok_at timestamp with time zone,
    error text DEFAULT ''::text NOT NULL,
    failing_since timestamp with time zone,
    denied text DEFAULT ''::text NOT NULL,
    probes integer DEFAULT 0 NOT NULL,
    due_at timestamp with time zone
);
ALTER TABLE ONLY public.sink FORCE ROW LEVEL SECURITY;
CREATE TABLE public.source (
    tenant text NOT NULL,
    name text NOT NULL,
    type text DEFAULT ''::text NOT NULL,
    rank smallint DEFAULT 32767 NOT NULL,
    cursor json,
    rules bytea DEFAULT '\x'::bytea NOT NULL,
    contacts integer DEFAULT 0 NOT NULL,
    unreadable integer DEFAULT 0 NOT NULL,
    tried_at timestamp with time zone,
    read_at timestamp with time zone,
    full_at timestamp with time zone,
    changed_at timestamp with time zone,
    error text DEFAULT ''::text NOT NULL,
    failing_since timestamp with time zone,
    failures integer DEFAULT 0 NOT NULL,
    denied boolean DEFAULT false NOT NULL,
    due_at timestamp with time zone,
    notes text[] DEFAULT '{}'::text[] NOT NULL
);
ALTER TABLE ONLY public.source FORCE ROW LEVEL SECURITY;
CREATE TABLE public.total (
    tenant text NOT NULL,
    subject text NOT NULL,
    name text NOT NULL,
    event text NOT NULL,
    count bigint NOT NULL
);
ALTER TABLE ONLY public.total FORCE ROW LEVEL SECURITY;
CREATE TABLE public.unreadable (
    tenant text NOT NULL,
    source text NOT NULL,
    id text NOT NULL,
    version text NOT NULL,
    reason text NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE ONLY public.unreadable FORCE ROW LEVEL SECURITY;
CREATE TABLE public.workflow_call (
    tenant text NOT NULL,
    key text NOT NULL,
    workflow text NOT NULL,
    action text NOT NULL,
    source text NOT NULL,
    told json NOT NULL,
    contact text NOT NULL,
    contact_url text NOT NULL,
    state text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    due_at timestamp with time zone NOT NULL,
    done_at timestamp with time zone,
    tries integer DEFAULT 0 NOT NULL,
    made_id text DEFAULT ''::text NOT NULL,
    made_url text DEFAULT ''::text NOT NULL,
    code text DEFAULT ''::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL
);
ALTER TABLE ONLY public.workflow_call FORCE ROW LEVEL SECURITY;
INSERT INTO public.account VALUES ('default', 'ann', '$argon2id$v=19$m=19456,t=2,p=1$redFm5iB1JkfyQz+ysVsAQ$B9ki8PDjRYVWvsQsZgMYwNejsLnjtOenjoH/wuSCVFI', '\x012f594afd13f8fbe998c6beffd7ac1150c08d1a414424cc9780cfec7236bcb242f886913f214c5b', '{"sipusername":"user1"}', false, 1, '2026-11-22 09:50:28.269821+00');
INSERT INTO public.account VALUES ('default', 'bob', '$argon2id$v=19$m=19456,t=2,p=1$Tv5VZ+HfmUhRxJfVfLMHQQ$7MLfYWzEpp/PbYvElv0NddeyDTEM3rElIbvO2qI7T6Q', '\x012f594afd84ed3a42d9e211c661ffe0324ec6b0db22ade8e1a591cd1e98b0fb586370ec3c0689b3', '{"sipusername":"user2"}', false, 2, '2026-11-22 09:50:28.269821+00');
INSERT INTO public.contact VALUES ('default', 1, 'office', 'ann', '', '\xe54fba0b7741944c7c47ff1c79b75da3', '\xbb9226917461c461fc1b14548016e76b', -2503405991525703156, true, 2, '2026-11-22 09:50:25.237496+00', '{"source":"office","id":"ann","first_name":"Ann","last_name":"Lee","display_name":"Ann Lee","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000001","kind":"mobile","raw":"+352 621 000 001","company":false},{"key":"+352260001","kind":"mobile","raw":"+352 26 00 01","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 6, 'office', 'held0', '', '\xa286c7adaad773c67bc44931e78605b5', '\x131056839dba78469fab5a6823b49b90', -2015116131760202932, true, 1, '2026-11-22 09:50:25.237496+00', '{"source":"office","id":"held0","first_name":"Held","last_name":"N0","display_name":"Held N0","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000010","kind":"mobile","raw":"+352 621 000 010","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 7, 'office', 'held1', '', '\xcaf1461303071f41aed9591bb3901193', '\xa79fb337810cd58a6a5b363a87826c82', 4226327274345851891, true, 1, '2026-11-22 09:50:25.237496+00', '{"source":"office","id":"held1","first_name":"Held","last_name":"N1","display_name":"Held N1","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000011","kind":"mobile","raw":"+352 621 000 011","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 8, 'office', 'held2', '', '\x8cd8d47e9d2e1ce6c0664c1b22c21b9e', '\xa25c52661f5af79bcd15025734935dac', -902582863025108911, true, 1, '2026-11-22 09:50:25.237496+00', '{"source":"office","id":"held2","first_name":"Held","last_name":"N2","display_name":"Held N2","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000012","kind":"mobile","raw":"+352 621 000 012","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 9, 'office', 'held3', '', '\x62d8a10597725d12b83c5c0748246369', '\x54fa7a253938e879fb0458b109cd5aca', -2077948612699396203, true, 1, '2026-11-22 09:50:25.237496+00', '{"source":"office","id":"held3","first_name":"Held","last_name":"N3","display_name":"Held N3","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000013","kind":"mobile","raw":"+352 621 000 013","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 10, 'office', 'held4', '', '\x16b332a076081d79714c701582a9202d', '\x94852511117cc6094e3c3d579e1ee117', -7526185096497505129, true, 1, '2026-11-22 09:50:25.237496+00', '{"source":"office","id":"held4","first_name":"Held","last_name":"N4","display_name":"Held N4","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000014","kind":"mobile","raw":"+352 621 000 014","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 11, 'office', 'star', '', '\xd0862cf5d139cc1962791465fcaf7f27', '\x88a3e4efe6acd12244467ae5ccaf14e9', 3269772244142982693, true, 1, '2026-11-22 09:50:25.237496+00', '{"source":"office","id":"star","first_name":"Star","last_name":"Code","display_name":"Star Code","company":"","emails":[],"addresses":[],"numbers":[{"key":"*2106","kind":"mobile","raw":"*2106","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 65, 'list', 'ann2', '', '\x66b37c32e1ea1194e6c500a9b12fa26d', '\x6b9913594ca65ae3c7ae587fbeb26528', 2046679732296214171, true, 1, '2026-11-22 09:50:25.362591+00', '{"source":"list","id":"ann2","first_name":"Ann","last_name":"Other","display_name":"Ann Other","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000001","kind":"mobile","raw":"+352 621 000 001","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 66, 'list', 'fay', '', '\xd7cdce938796902b7faa3a06747f46d2', '\xc674389483b23999ebc958abe402f85e', -7798442789925357983, true, 1, '2026-11-22 09:50:25.362591+00', '{"source":"list","id":"fay","first_name":"Fay","last_name":"Gum","display_name":"Fay Gum","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000021","kind":"mobile","raw":"+352 621 000 021","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 2, 'office', 'bob', '', '\xf9a951a07b3b52beba867b10646e8ec5', '\x78f9194b8c7e4af59e3555bcd8a5fb8e', 4709840271804109221, true, 1, '2026-11-22 09:50:30.703503+00', '{"source":"office","id":"bob","first_name":"Bob","last_name":"Low","display_name":"Bob Low","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000002","kind":"mobile","raw":"+352 621 000 002","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 4, 'office', 'dan', '', '\x70badecb229cde33ab7373d2cd5ded5c', '\xbe0d9caa88461a05e522f013efca2425', -1761448941195417314, true, 1, '2026-11-22 09:50:30.703503+00', '{"source":"office","id":"dan","first_name":"Dan","last_name":"Poe","display_name":"Dan Poe","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000044","kind":"mobile","raw":"+352 621 000 044","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 3, 'office', 'cem', '', '\xe6a10c296c141554e3482c8157625e3f', '\x36ab22f194a9ff77a36718187e626ee6', -3122800650110051113, true, 1, '2026-11-22 09:50:31.861944+00', '{"source":"office","id":"cem","first_name":"Cem","last_name":"Ozan","display_name":"Cem Ozan","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000003","kind":"mobile","raw":"+352 621 000 003","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.contact VALUES ('default', 129, 'office', 'eve', '', '\xf497c2cb996165d41076bf73e0fa24ed', '\xc2a399250ae3be29e36bff0af6e73a25', -8301301978672993751, true, 1, '2026-11-22 09:50:31.861944+00', '{"source":"office","id":"eve","first_name":"Eve","last_name":"Fox","display_name":"Eve Fox","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000005","kind":"mobile","raw":"+352 621 000 005","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.crm_user VALUES ('default', 'office', '7', '{"id":"7","extension":"107"}');
INSERT INTO public.device VALUES ('default', 'ann', 'phone-1', '[{"sipusername":"user1"}]', '\x01', '2026-11-22 09:50:32.13922+00');
INSERT INTO public.entry VALUES ('default', 'pbx', '*2106', 11, 'mobile', 3269772244142982693, NULL, NULL, NULL, NULL, NULL, NULL, 'refused', '2026-11-22 09:50:25.237496+00', '2026-11-22 09:50:25.317675+00', NULL, 0, 0, 'NUMBER_NOT_DIALABLE', '''*2106'' is not made of digits alone');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352260001', 1, 'mobile', -2503405991525703156, '{"first_name":"Ann","last_name":"Lee","number":"352260001","company":""}', 1, 'mobile', -2503405991525703156, NULL, NULL, 'clean', '2026-11-22 09:50:25.237496+00', '2026-11-22 09:50:25.425926+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000001', 1, 'mobile', -2503405991525703156, '{"first_name":"Ann","last_name":"Lee","number":"352621000001","company":""}', 1, 'mobile', -2503405991525703156, NULL, NULL, 'clean', '2026-11-22 09:50:25.237496+00', '2026-11-22 09:50:25.425926+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000012', 8, 'mobile', -902582863025108911, '{"first_name":"Held","last_name":"N2","number":"352621000012","company":""}', 8, 'mobile', -902582863025108911, NULL, NULL, 'clean', '2026-11-22 09:50:25.237496+00', '2026-11-22 09:50:25.425926+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000010', 6, 'mobile', -2015116131760202932, '{"first_name":"Held","last_name":"N0","number":"352621000010","company":""}', 6, 'mobile', -2015116131760202932, NULL, NULL, 'clean', '2026-11-22 09:50:25.237496+00', '2026-11-22 09:50:25.425926+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000011', 7, 'mobile', 4226327274345851891, '{"first_name":"Held","last_name":"N1","number":"352621000011","company":""}', 7, 'mobile', 4226327274345851891, NULL, NULL, 'clean', '2026-11-22 09:50:25.237496+00', '2026-11-22 09:50:25.425926+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000013', 9, 'mobile', -2077948612699396203, '{"first_name":"Held","last_name":"N3","number":"352621000013","company":""}', 9, 'mobile', -2077948612699396203, NULL, NULL, 'clean', '2026-11-22 09:50:25.237496+00', '2026-11-22 09:50:25.425926+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000014', 10, 'mobile', -7526185096497505129, '{"first_name":"Held","last_name":"N4","number":"352621000014","company":""}', 10, 'mobile', -7526185096497505129, NULL, NULL, 'clean', '2026-11-22 09:50:25.237496+00', '2026-11-22 09:50:25.425926+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000021', 66, 'mobile', -7798442789925357983, '{"first_name":"Fay","last_name":"Gum","number":"352621000021","company":""}', 66, 'mobile', -7798442789925357983, NULL, NULL, 'clean', '2026-11-22 09:50:25.362591+00', '2026-11-22 09:50:25.497814+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000002', 2, 'mobile', 4709840271804109221, '{"first_name":"Bob","last_name":"Ray","number":"352621000002","company":""}', 2, 'mobile', 6187446864056470165, '{"first_name":"Bob","last_name":"Low","number":"352621000002","company":""}', NULL, 'sent', '2026-11-22 09:50:30.703503+00', '2026-11-22 09:51:08.75826+00', '2026-11-22 09:50:30.75826+00', 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000044', 4, 'mobile', -1761448941195417314, NULL, NULL, NULL, NULL, '{"first_name":"Dan","last_name":"Poe","number":"352621000044","company":""}', '+352621000004', 'sent', '2026-11-22 09:50:30.703503+00', '2026-11-22 09:51:08.75826+00', '2026-11-22 09:50:30.75826+00', 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000004', NULL, NULL, NULL, '{"first_name":"Dan","last_name":"Poe","number":"352621000004","company":""}', 4, 'mobile', -1761448941195417314, NULL, NULL, 'moving', '2026-11-22 09:50:30.703503+00', '2026-11-22 09:50:30.703503+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000003', 3, 'mobile', -3122800650110051113, '{"first_name":"Cem","last_name":"Oz","number":"352621000003","company":""}', 3, 'mobile', 8398761747350779739, NULL, NULL, 'due', '2026-11-22 09:50:31.861944+00', '2026-11-22 09:50:31.861944+00', NULL, 0, 0, '', '');
INSERT INTO public.entry VALUES ('default', 'pbx', '+352621000005', 129, 'mobile', -8301301978672993751, NULL, NULL, NULL, NULL, NULL, NULL, 'due', '2026-11-22 09:50:31.861944+00', '2026-11-22 09:50:31.861944+00', NULL, 0, 0, '', '');
INSERT INTO public.extension VALUES ('default', 'pbx', '107', '{"number":"107","first_name":"Uma"}', '{"number":"107"}', NULL, 'due', '2026-11-22 09:50:32.135161+00', '2026-11-22 09:50:32.135161+00', 0, '', '');
INSERT INTO public.extension VALUES ('default', 'pbx', '108', NULL, '{}', NULL, 'refused', '2026-11-22 09:50:32.135161+00', '2026-11-22 09:50:32.135161+00', 0, '', '');
INSERT INTO public.forgotten VALUES ('default', '\xe89380ced3674f6227177654afc77fb4', '2026-11-22 09:50:29.502176+00');
INSERT INTO public.held VALUES ('default', 'office', 'held2', 'removed', false, '2026-11-22 09:50:30.703503+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.held VALUES ('default', 'office', 'held0', 'removed', false, '2026-11-22 09:50:30.703503+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.held VALUES ('default', 'office', 'held4', 'removed', false, '2026-11-22 09:50:30.703503+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.held VALUES ('default', 'office', 'held3', 'removed', false, '2026-11-22 09:50:30.703503+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.held VALUES ('default', 'office', 'held1', 'removed', false, '2026-11-22 09:50:30.703503+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.number VALUES ('default', '*2106', 11, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352260001', 1, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000001', 1, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000010', 6, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000011', 7, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000012', 8, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000013', 9, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000014', 10, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000001', 65, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000021', 66, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000002', 2, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000044', 4, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000003', 3, 'mobile', false);
INSERT INTO public.number VALUES ('default', '+352621000005', 129, 'mobile', false);
INSERT INTO public.owner VALUES ('default', NULL, '2026-11-22 09:50:31.958978+00');
INSERT INTO public.removed VALUES ('default', 'office', 'gone', '2026-11-22 09:50:26.939504+00', '', '\xb1b01c14cfb8ff746e8b33723668d489', '\x2f3832e41cf191309f950fd93a48238e', 139951045571941170, true, 1, '2026-11-22 09:50:25.237496+00', '{"source":"office","id":"gone","first_name":"Gone","last_name":"Kay","display_name":"Gone Kay","company":"","emails":[],"addresses":[],"numbers":[{"key":"+352621000007","kind":"mobile","raw":"+352 621 000 007","company":false}],"tags":[],"country":"","contact_url":"","company_url":"","custom":[]}');
INSERT INTO public.run VALUES ('default', 'office', '2026-11-22 09:50:25.196709+00', 0.09, true, 11, 11, 0, 0, 0, 0, 0, 0, '');
INSERT INTO public.run VALUES ('default', 'list', '2026-11-22 09:50:25.309404+00', 0.086, true, 2, 2, 0, 0, 0, 0, 0, 0, '');
INSERT INTO public.run VALUES ('default', 'office', '2026-11-22 09:50:26.904315+00', 0.06, true, 10, 0, 0, 1, 10, 0, 1, 0, '');
INSERT INTO public.run VALUES ('default', 'list', '2026-11-22 09:50:26.979672+00', 0.067, true, 2, 0, 0, 0, 2, 0, 0, 0, '');
INSERT INTO public.run VALUES ('default', 'office', '2026-11-22 09:50:30.6387+00', 0.086, true, 5, 0, 2, 0, 8, 0, 0, 5, '');
INSERT INTO public.run VALUES ('default', 'office', '2026-11-22 09:50:31.821487+00', 0.068, true, 6, 1, 1, 0, 9, 0, 0, 5, '');
INSERT INTO public.run VALUES ('default', 'list', '2026-11-22 09:50:31.908304+00', 0.033, true, 2, 0, 0, 0, 2, 0, 0, 0, '');
INSERT INTO public.salt VALUES ('default', '\xde1dfc3f18caf0467ace296b579ff1ad');
INSERT INTO public.schema_version VALUES (7);
INSERT INTO public.sink VALUES ('default', 'pbx', 'digits LU
office
list
*', '2026-11-22 09:50:27.02614+00', '', NULL, '', 0, NULL);
INSERT INTO public.source VALUES ('default', 'office', 'file', 0, NULL, '\xdb10fd64efec99559948b8c85dd3a39b', 11, 0, '2026-11-22 09:50:31.861944+00', '2026-11-22 09:50:31.861944+00', '2026-11-22 09:50:31.861944+00', '2026-11-22 09:50:31.861944+00', '', NULL, 0, false, NULL, '{"held: 6 of 11 contacts would be lost, 1 of them earlier within the last day: more than 10 % and more than 2"}');
INSERT INTO public.source VALUES ('default', 'list', 'file', 1, '{"inode":2935173,"size":193,"mtime_ns":1795341024057200221,"format":"auto"}', '\x5efaa5fc84e00ddc582fef2df73e5e24', 2, 0, '2026-11-22 09:50:31.931994+00', '2026-11-22 09:50:31.931994+00', '2026-11-22 09:50:31.931994+00', '2026-11-22 09:50:25.362591+00', '', NULL, 0, false, NULL, '{}');
INSERT INTO public.total VALUES ('default', 'sink', 'pbx', 'push.refused', 1);
INSERT INTO public.total VALUES ('default', 'source', 'list', 'record.added', 2);
INSERT INTO public.total VALUES ('default', 'source', 'office', 'record.removed', 1);
INSERT INTO public.total VALUES ('default', 'source', 'office', 'run.done', 2);
INSERT INTO public.total VALUES ('default', 'sink', 'pbx', 'push.settled', 13);
INSERT INTO public.total VALUES ('default', 'source', 'office', 'record.added', 12);
INSERT INTO public.total VALUES ('default', 'source', 'office', 'record.changed', 3);
INSERT INTO public.total VALUES ('default', 'source', 'office', 'record.unchanged', 27);
INSERT INTO public.total VALUES ('default', 'source', 'office', 'run.held', 2);
INSERT INTO public.total VALUES ('default', 'source', 'list', 'record.unchanged', 4);
INSERT INTO public.total VALUES ('default', 'source', 'list', 'run.done', 3);
INSERT INTO public.workflow_call VALUES ('default', 'k1', 'CallFlow', 'webhook', '', '{}', 'ann', '', 'due', '2026-11-22 09:50:32.138073+00', '2026-11-22 09:50:32.138073+00', NULL, 0, '', '', '', '');
INSERT INTO public.workflow_call VALUES ('default', 'k2', 'CallFlow', 'webhook', '', '{}', 'ann', '', 'done', '2026-11-22 09:50:32.138073+00', '2026-11-22 09:50:32.138073+00', '2026-11-22 09:50:32.138073+00', 0, 'made-1', '', '', '');
INSERT INTO public.workflow_call VALUES ('default', 'k3', 'CallFlow', 'webhook', '', '{}', 'bob', '', 'failed', '2026-11-22 09:50:32.138073+00', '2026-11-22 09:50:32.138073+00', NULL, 0, '', '', '', '');
SELECT pg_catalog.setval('public.account_version', 2, true);
SELECT pg_catalog.setval('public.contact_pk', 192, true);
ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (tenant, username);
ALTER TABLE ONLY public.contact
    ADD CONSTRAINT contact_pkey PRIMARY KEY (tenant, pk);
ALTER TABLE ONLY public.contact
    ADD CONSTRAINT contact_tenant_source_id_key UNIQUE (tenant, source, id);
ALTER TABLE ONLY public.crm_user
    ADD CONSTRAINT crm_user_pkey PRIMARY KEY (tenant, source, id);
ALTER TABLE ONLY public.daemon
    ADD CONSTRAINT daemon_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.device
    ADD CONSTRAINT device_pkey PRIMARY KEY (tenant, username, device);
ALTER TABLE ONLY public.entry
    ADD CONSTRAINT entry_pkey PRIMARY KEY (tenant, sink, number);
ALTER TABLE ONLY public.extension
    ADD CONSTRAINT extension_pkey PRIMARY KEY (tenant, sink, number);
ALTER TABLE ONLY public.forgotten
    ADD CONSTRAINT forgotten_pkey PRIMARY KEY (tenant, hash);
ALTER TABLE ONLY public.held
    ADD CONSTRAINT held_pkey PRIMARY KEY (tenant, source, id);
ALTER TABLE ONLY public.number
    ADD CONSTRAINT number_pkey PRIMARY KEY (tenant, number, contact);
ALTER TABLE ONLY public.owner
    ADD CONSTRAINT owner_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY public.removed
    ADD CONSTRAINT removed_pkey PRIMARY KEY (tenant, source, id);
ALTER TABLE ONLY public.run
    ADD CONSTRAINT run_pkey PRIMARY KEY (tenant, source, started_at);
ALTER TABLE ONLY public.salt
    ADD CONSTRAINT salt_pkey PRIMARY KEY (tenant);
ALTER TABLE ONLY public.sink
    ADD CONSTRAINT sink_pkey PRIMARY KEY (tenant, name);
ALTER TABLE ONLY public.source
    ADD CONSTRAINT source_pkey PRIMARY KEY (tenant, name);
ALTER TABLE ONLY public.total
    ADD CONSTRAINT total_pkey PRIMARY KEY (tenant, subject, name, event);
ALTER TABLE ONLY public.unreadable
    ADD CONSTRAINT unreadable_pkey PRIMARY KEY (tenant, source, id);
ALTER TABLE ONLY public.workflow_call
    ADD CONSTRAINT workflow_call_pkey PRIMARY KEY (tenant, key);
CREATE INDEX entry_due ON public.entry USING btree (tenant, sink, due_at) WHERE (state = ANY (ARRAY['due'::text, 'sent'::text]));
CREATE INDEX entry_gone ON public.entry USING btree (tenant, sink, acked_contact) WHERE ((state = 'due'::text) AND (contact IS NULL));
CREATE INDEX entry_owner ON public.entry USING btree (tenant, sink, contact) WHERE (state = 'due'::text);
CREATE INDEX entry_refused ON public.entry USING btree (tenant, sink) WHERE (state = 'refused'::text);
CREATE INDEX extension_due ON public.extension USING btree (tenant, sink, due_at) WHERE (state = ANY (ARRAY['due'::text, 'sent'::text]));
CREATE INDEX owner_daemon ON public.owner USING btree (daemon);
CREATE INDEX workflow_call_asked ON public.workflow_call USING btree (tenant, asked_at);
CREATE INDEX workflow_call_due ON public.workflow_call USING btree (due_at) WHERE (state = ANY (ARRAY['due'::text, 'doing'::text]));
ALTER TABLE public.account ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.contact ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.crm_user ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.device ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.entry ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.extension ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.forgotten ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.held ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.number ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.owner ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.removed ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.run ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.salt ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.sink ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.source ENABLE ROW LEVEL SECURITY;
CREATE POLICY tenant ON public.account USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.contact USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.crm_user USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.device USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.entry USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.extension USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.forgotten USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.held USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.number USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.owner USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.removed USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.run USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.salt USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.sink USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.source USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.total USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.unreadable USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
CREATE POLICY tenant ON public.workflow_call USING (
CASE current_setting('bridge.tenant'::text, true)
    WHEN tenant THEN true
    WHEN '*'::text THEN true
    ELSE false
END);
ALTER TABLE public.total ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.unreadable ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.workflow_call ENABLE ROW LEVEL SECURITY;
