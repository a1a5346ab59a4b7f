-- What search needs: a table with one row for each message and title, and the words of a text. No row of another table is
-- read or written here: 0097 has new ones noted, and 0098 notes the old ones.
-- depends: 0095.name-models-of-budgets
-- locks: service_rights, row exclusive, a moment
-- locks: conversations, access exclusive, a moment

set local lock_timeout = '5s';
set local statement_timeout = '1min';

-- The signature is in the index, so that a search reads pages of its user alone.
create table if not exists search_entries (
    user_id uuid not null,
    said_at timestamptz not null,
    conversation_id uuid not null,
    position bigint not null,
    signature bytea not null,
    constraint search_entries_pkey
    primary key (user_id, said_at, conversation_id, position) include (signature)
) with (
    autovacuum_vacuum_insert_scale_factor = 0.02,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_analyze_scale_factor = 0.02
);

-- Not compressed: it looks like random bytes.
alter table search_entries
alter column signature set storage plain;

comment on table search_entries is
'What search reads: one row for each message of a user or a model, and for each title. Kept by triggers; text is only '
'in messages, inactive_messages and conversations. May be emptied and filled again: call chat_fill_search().';
comment on column search_entries.user_id is
'Whose it is.';
comment on column search_entries.said_at is
'As created_at of the message. Seven thousand years after that of the conversation: it is a title.';
comment on column search_entries.conversation_id is
'Where it is. No foreign key: triggers delete it.';
comment on column search_entries.position is
'That of the message; 0 for a title.';
comment on column search_entries.signature is
'Which words the text may have: chat_signature(). It rules out most texts; search reads the others.';

alter table conversations
add column if not exists former_user_id uuid;

comment on column conversations.former_user_id is
'Whose it was, while it is removed in pieces. Null as long as user_id isn''t.';

-- As in 0047.
do $$
begin
    perform set_config(
        'search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), 'pg_temp'), true
    );
end
$$;

-- The same whatever the database's locale is, because signatures are stored: lower() of "C" changes ASCII alone, and
-- translate() the capitals of other alphabets that normalize() leaves.
create or replace function chat_words(content text) returns text
language plpgsql immutable strict parallel safe
as $$
declare
    separators constant text
        := '[\u0001-\u002f\u003a-\u0060\u007b-\u00a9\u00ab\u00ac\u00ae-\u00b1\u00b4\u00b6-\u00b8\u00bb\u00bf'
            '\u00d7\u00f7\u055a-\u055f\u0589\u058a\u05be\u05c0\u05c3\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964'
            '\u0965\u0e5a\u0e5b\u0f0b-\u0f12\u104a-\u104f\u1360-\u1368\u17d4-\u17da\u2000-\u200a\u2010-\u205f'
            '\u2061-\u206f\u20a0-\u20cf\u2190-\u25ff\u27c0-\u2aff\u2e00-\u2e7f\u3000-\u3004\u3008-\u3020\u3030'
            '\u303d\u3040\u30fb\ufe10-\ufe6f\ufff0-\uffff]+';
    -- Accents, vowel points, and what has no width.
    marks constant text
        := '[\u00ad\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4-\u05c7\u0610-\u061a\u0640\u064b-\u065f'
            '\u0670\u06d6-\u06ed\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff]+';
    -- Characters of languages without spaces, and pictures.
    single constant text
        := '[\u0e01-\u0e59\u0e80-\u0edf\u1000-\u1049\u1050-\u109f\u1780-\u17d3\u17dc-\u17ff\u2600-\u27bf'
            '\u2b00-\u2bff\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3041-\u30fa\u30fc-\u30ff\u31f0-\u31ff'
            '\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001f000-\U0001faff\U00020000-\U0003ffff]';
    capitals constant text
        := u&'\0391\0392\0393\0394\0395\0396\0397\0398\0399\039A\039B\039C\039D\039E\039F\03A0\03A1\03A3\03A4\03A5'
            '\03A6\03A7\03A8\03A9\03C2\0402\0404\0405\0406\0408\0409\040A\040B\040F\0410\0411\0412\0413\0414\0415'
            '\0416\0417\0418\041A\041B\041C\041D\041E\041F\0420\0421\0422\0423\0424\0425\0426\0427\0428\0429\042A'
            '\042B\042C\042D\042E\042F\0490\0492\0494\0496\0498\049A\049C\049E\04A0\04A2\04A4\04A6\04A8\04AA\04AC'
            '\04AE\04B0\04B2\04B4\04B6\04B8\04BA\04BC\04BE\04C0\04C3\04C5\04C7\04C9\04CB\04CD\04D4\04D8\04E0\04E8'
            '\04F6\04FA\04FC\04FE\0500\0502\0504\0506\0508\050A\050C\050E\0510\0512\0514\0516\0518\051A\051C\051E'
            '\0520\0522\0524\0526\0528\052A\052C\052E\0531\0532\0533\0534\0535\0536\0537\0538\0539\053A\053B\053C'
            '\053D\053E\053F\0540\0541\0542\0543\0544\0545\0546\0547\0548\0549\054A\054B\054C\054D\054E\054F\0550'
            '\0551\0552\0553\0554\0555\0556\00C6\0152\00D8\00F8\0110\0111\00D0\00F0\0141\0142\00DE\0126\0127\014A'
            '\0166\0167\0131\018F\1E9E\0181\018A\0198\0190\0186';
    small constant text
        := u&'\03B1\03B2\03B3\03B4\03B5\03B6\03B7\03B8\03B9\03BA\03BB\03BC\03BD\03BE\03BF\03C0\03C1\03C3\03C4\03C5'
            '\03C6\03C7\03C8\03C9\03C3\0452\0454\0455\0456\0458\0459\045A\045B\045F\0430\0431\0432\0433\0434\0435'
            '\0436\0437\0438\043A\043B\043C\043D\043E\043F\0440\0441\0442\0443\0444\0445\0446\0447\0448\0449\044A'
            '\044B\044C\044D\044E\044F\0491\0493\0495\0497\0499\049B\049D\049F\04A1\04A3\04A5\04A7\04A9\04AB\04AD'
            '\04AF\04B1\04B3\04B5\04B7\04B9\04BB\04BD\04BF\04CF\04C4\04C6\04C8\04CA\04CC\04CE\04D5\04D9\04E1\04E9'
            '\04F7\04FB\04FD\04FF\0501\0503\0505\0507\0509\050B\050D\050F\0511\0513\0515\0517\0519\051B\051D\051F'
            '\0521\0523\0525\0527\0529\052B\052D\052F\0561\0562\0563\0564\0565\0566\0567\0568\0569\056A\056B\056C'
            '\056D\056E\056F\0570\0571\0572\0573\0574\0575\0576\0577\0578\0579\057A\057B\057C\057D\057E\057F\0580'
            '\0581\0582\0583\0584\0585\0586\00E6\0153\006F\006F\0064\0064\0064\0064\006C\006C\00FE\0068\0068\014B'
            '\0074\0074\0069\0259\00DF\0253\0257\0199\025B\0254';
    words text := regexp_replace(lower(content collate "C"), separators collate "C", ' ', 'g');
begin
    if octet_length(words) > length(words) then
        words := regexp_replace(normalize(words, nfkd), marks collate "C", '', 'g');
        if words ~ u&'[\00C6-\00FE\0110-\0556\1E9E]' collate "C" then
            words := translate(words, capitals, small);
            words := replace(replace(replace(words, u&'\00DF', 'ss'), u&'\00E6', 'ae'), u&'\0153', 'oe');
        end if;
        words := regexp_replace(words, single collate "C", ' \& ', 'g');
        words := regexp_replace(lower(words collate "C"), separators collate "C", ' ', 'g');
    end if;
    return ' ' || btrim(words) || ' ';
end
$$;

comment on function chat_words(text) is
'The words of a text, in small letters without accents, each between spaces. In languages without spaces, each '
'character is a word. So a text has the phrase "big cat" just if these have " big cat ".';

-- A number for what a text or a query has. Changes with nothing but the order of the machine's bytes.
create or replace function chat_word_code(word text) returns bigint
language sql immutable strict parallel safe
as $$
    select hashtextextended(word collate "C", 0) & 281474976710655
$$;

comment on function chat_word_code(text) is
'The number of a word in a signature, of 48 bits.';

-- The first six letters of a word, and the first four, so that what is still being typed is found. Pairs, because in a language
-- without spaces most texts have most characters.
create or replace function chat_signature(content text) returns bytea
language plpgsql immutable strict parallel safe
as $$
declare
    -- It would take a second, and fit nearly every query: its signature lets everything pass.
    is_long constant boolean := length(content) > 20000;
    words text := case when is_long then '' else btrim(chat_words(content)) end;
    codes bigint[] := (
        select array_agg(distinct code)
        from (
            select chat_word_code(left(word, size)) as code
            from unnest(string_to_array(words, ' ')) as word
            cross join (values (6), (4)) as s(size)
            union all
            select chat_word_code(word || next)
            from (
                select word, lead(word) over (order by n) as next
                from unnest(string_to_array(words, ' ')) with ordinality as t(word, n)
            ) as t
            where words ~ u&'[\0E01-\+10FFFF]' collate "C" and chat_is_single(word) and chat_is_single(next)
        ) as c
    );
    -- Seven bits a code let three texts in a hundred pass that haven't got a word; a text of more than 1,700 codes passes more often.
    -- A short text gets eight bytes, since few bits would all be set.
    bytes integer := least(1500, greatest(8, (cardinality(codes) * 7 + 7) / 8));
    bits integer := 8 * bytes;
    signature bytea := decode(repeat('00', bytes), 'hex');
    code bigint;
    first_bit bigint;
    step bigint;
begin
    if is_long then
        return '\xffffffffffffffff';
    end if;
    if words = '' then
        return null;
    end if;
    foreach code in array codes loop
        first_bit := code % 16777216;
        step := code / 16777216;
        signature := set_bit(signature, first_bit % bits, 1);
        signature := set_bit(signature, (first_bit + step) % bits, 1);
        signature := set_bit(signature, (first_bit + 2 * step) % bits, 1);
        signature := set_bit(signature, (first_bit + 3 * step) % bits, 1);
        signature := set_bit(signature, (first_bit + 4 * step) % bits, 1);
    end loop;
    return signature;
end
$$;

comment on function chat_signature(text) is
'A Bloom filter over the words of a text: five bits for each code. Null: it has no word. All bits: it is too long.';

create or replace function chat_is_single(word text) returns boolean
language sql immutable parallel safe
as $$
    select length(word) = 1 and word >= u&'\0E01' collate "C"
$$;

comment on function chat_is_single(text) is
'Whether this word of chat_words() is a character of a language without spaces, or a picture.';

-- Titles stand before all messages, those of the newest conversations first.
create or replace function chat_title_time(created_at timestamptz) returns timestamptz
language sql immutable parallel safe
as $$
    select (created_at at time zone 'utc' + interval '7000 years') at time zone 'utc'
$$;

comment on function chat_title_time(timestamptz) is
'The said_at of a title.';

create or replace function chat_search_query(search text, out needed text[], out unwanted text[], out probes bigint[])
language plpgsql immutable parallel safe
security definer
set search_path from current
as $$
declare
    part text;
    is_last boolean;
    is_prefix boolean;
    words text;
    word text;
    previous text;
    next text;
    codes bigint[] := '{}';
begin
    needed := '{}';
    unwanted := '{}';
    for part, is_last in
        select parts[1], n = max(n) over ()
        from regexp_matches(search, '-?"[^"]*"?|\S+', 'g') with ordinality as t(parts, n)
        order by n
    loop
        if part ~ '^-[^-]' then
            words := chat_words(substr(part, 2));
            if words <> '  ' then
                unwanted := unwanted || words;
            end if;
            continue;
        end if;
        words := chat_words(part);
        continue when words = '  ';
        -- Shorter than the second size of chat_signature(), it could be the beginning of any word.
        is_prefix := is_last and part !~ '^".*"$' and search !~ '\s$' and chat_words(right(part, 1)) <> '  '
            and words ~ '\S{4} $';
        needed := needed || case when is_prefix then rtrim(words) else words end;
        for word, previous, next in
            select t.word, lag(t.word) over (order by n), lead(t.word) over (order by n)
            from unnest(string_to_array(btrim(words), ' ')) with ordinality as t(word, n)
            order by n
        loop
            if chat_is_single(word) then
                if chat_is_single(next) then
                    codes := codes || chat_word_code(word || next);
                elsif chat_is_single(previous) is not true then
                    codes := codes || chat_word_code(word);
                end if;
            else
                codes := codes || chat_word_code(
                    left(word, case when is_prefix and next is null and length(word) < 6 then 4 else 6 end)
                );
            end if;
        end loop;
    end loop;
    probes := array(
        select code % 16777216 + n * (code / 16777216)
        from unnest(codes) as code
        cross join generate_series(0, 4) as n
    );
end
$$;

comment on function chat_search_query(text) is
'Reads what a user types: words, "phrases", -unwanted; unless a space follows, the last word may go on from its fourth '
'letter. needed, unwanted: what chat_words() of a text must have, and mustn''t. probes: the bits that its signature '
'must have, each modulo the signature''s length.';

-- With the owner's rights: under row-level security a statement sees the messages of one conversation alone.
create or replace function chat_find_said(
    whose uuid, conversation uuid, said bigint, needed text[], unwanted text[],
    out message_id uuid, out role varchar, out is_active boolean, out content text, out created_at timestamptz,
    out found_in json
)
returns setof record
language plpgsql stable
security definer
set search_path from current
as $$
declare
    words text;
begin
    if current_setting('chat.user_id', true) not in ('*', cast(whose as text)) then
        return;
    end if;
    if said = 0 then
        select c.title, c.created_at into content, created_at
        from conversations as c
        where c.id = conversation and c.user_id is not distinct from whose;
    else
        select m.id, m.role, true, m.content, m.created_at into message_id, role, is_active, content, created_at
        from messages as m
        where m.conversation_id = conversation and m.position = said;
        if not found then
            select m.id, m.role, false, m.content, m.created_at into message_id, role, is_active, content, created_at
            from inactive_messages as m
            where m.conversation_id = conversation and m.position = said;
        end if;
    end if;
    words := chat_words(content);
    if
        words is null
        or exists (select from unnest(needed) as n where strpos(words, n) = 0)
        or exists (select from unnest(unwanted) as n where strpos(words, n) > 0)
    then
        return;
    end if;
    select row_to_json(c) into found_in
    from (
        select
            id,
            user_id,
            coalesce(title, 'New conversation') as title,
            coalesce(model_tag, 'default') as model_tag,
            is_favorited,
            c.created_at,
            updated_at,
            version
        from conversations as c
        where id = conversation and user_id is not distinct from whose
    ) as c;
    if found then
        return next;
    end if;
end
$$;

revoke all on function chat_find_said(uuid, uuid, bigint, text[], text[]) from public;

comment on function chat_find_said(uuid, uuid, bigint, text[], text[]) is
'The text of an entry of search_entries, if it is this user''s and has the words that chat_search_query() returned; '
'else no row.';

create or replace function chat_snippet(content text, needed text[]) returns text
language plpgsql immutable strict parallel safe
security definer
set search_path from current
as $$
declare
    piece text := '';
    begins integer := 0;
    letters text[];
    words text := ' ';
    letter text;
    plain text;
    places integer[] := '{0}'; -- of each letter of words: which letter of the piece it is
    marks boolean[];
    needle text;
    place integer;
    first_mark integer;
    result text := '';
    is_marked boolean := false;
begin
    -- The first piece that has one of them whole. A piece begins between words, unless a word is longer than forty letters.
    while begins < length(content) loop
        piece := substr(content, begins + 1, 400);
        if begins > 0 then
            piece := regexp_replace(piece, '^\S{1,40}', '');
        end if;
        exit when exists (
            select from unnest(needed) as n where strpos(chat_words(piece), left(n, 150)) > 0
        );
        begins := begins + 200;
    end loop;
    if begins >= length(content) then
        piece := left(content, 400);
        begins := 0;
    end if;
    -- What comes after it, too.
    piece := piece || substr(content, begins + 401, 200);
    piece := btrim(regexp_replace(translate(normalize(piece, nfc), u&'\00AB\00BB', u&'\2039\203A'), '\s+', ' ', 'g'));
    letters := string_to_array(piece, null);
    for i in 1..cardinality(letters) loop
        letter := letters[i];
        plain := case
            when letter ~ '[a-zA-Z0-9]' collate "C" then lower(letter collate "C")
            when ascii(letter) < 128 then ' '
            else replace(chat_words(letter), '  ', ' ')
        end;
        if chat_is_single(btrim(plain)) is not true and plain not in (' ', '') then
            plain := btrim(plain);
        elsif plain = ' ' and ascii(letter) > 767 and chat_words('a' || letter) = ' a ' and chat_words('a' || letter || 'a') = ' aa ' then
            plain := ''; -- a mark, without a width
        end if;
        if right(words, 1) = ' ' then
            plain := ltrim(plain);
        end if;
        words := words || plain;
        places := places || array_fill(i, array[length(plain)]);
    end loop;
    words := words || ' ';
    places := places || (cardinality(letters) + 1);
    marks := array_fill(false, array[greatest(cardinality(letters), 1)]);
    foreach needle in array needed loop
        needle := left(needle, 150);
        place := strpos(words, needle);
        while place > 0 loop
            for i in place + 1..place + length(rtrim(needle)) - 1 loop
                marks[places[i]] := true;
            end loop;
            first_mark := least(coalesce(first_mark, places[place + 1]), places[place + 1]);
            letter := substr(words, place + length(rtrim(needle)));
            exit when strpos(letter, needle) = 0;
            place := place + length(rtrim(needle)) - 1 + strpos(letter, needle);
        end loop;
    end loop;
    -- Some words before the first mark, and what fits after it.
    first_mark := greatest(coalesce(first_mark, 1) - 50, 1);
    if first_mark > 1 then
        first_mark := first_mark + length(substring(substr(piece, first_mark, 30) from '^\S*\s*'));
    end if;
    for i in first_mark..least(first_mark + 199, cardinality(letters)) loop
        if marks[i] and not is_marked then
            result := result || u&'\00AB';
        elsif is_marked and not marks[i] then
            result := result || u&'\00BB';
        end if;
        is_marked := marks[i];
        result := result || letters[i];
    end loop;
    return case when first_mark > 1 or begins > 0 then u&'\2026' else '' end
        || result || case when is_marked then u&'\00BB' else '' end
        || case when first_mark + 199 < cardinality(letters) or begins + 600 < length(content) then u&'\2026' else '' end;
end
$$;

comment on function chat_snippet(text, text[]) is
'About 200 characters of a text, from a little before the first of these words (chat_search_query) on, each between '
'guillemets; those of the text itself are single ones.';

insert into service_rights (object, privilege, columns) values
('search_entries', 'select', '{}'),
('chat_search_query(text)', 'execute', '{}'),
('chat_find_said(uuid, uuid, bigint, text[], text[])', 'execute', '{}'),
('chat_snippet(text, text[])', 'execute', '{}')
on conflict (object, privilege) do nothing;

do $$
begin
    perform chat_grant(service_role) from chat_service_roles() as service_role;
end
$$;
