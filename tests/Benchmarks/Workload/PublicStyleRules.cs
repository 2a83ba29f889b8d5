using System.Globalization;
using System.Text;

namespace Vmsweep.Benchmarks.Workload;

/// <summary>
/// Rules in the manner of public collections: most are about malware that is not there, some about things that many files have.
/// The same for the same seed. None is taken from a collection.
/// </summary>
/// <param name="fewAreCommon">Of the rules about what many files have only those that fit a few dozen, as on the disks that people work with; otherwise nearly a tenth of all files is found.</param>
internal sealed class PublicStyleRules(int seed, bool fewAreCommon = false)
{
    private static readonly string[] Syllables = ["ra", "to", "vex", "mi", "lok", "zu", "ber", "sha", "kin", "dro", "pel", "gan", "tri", "fo", "nex", "qui", "ol", "bam", "cy", "rus"];

    private static readonly string[] Calls =
    [
        "VirtualAllocEx", "WriteProcessMemory", "CreateRemoteThread", "NtUnmapViewOfSection", "SetWindowsHookExA", "InternetOpenUrlA", "URLDownloadToFileA", "CryptEncrypt",
        "GetAsyncKeyState", "IsDebuggerPresent", "RegSetValueExA", "ShellExecuteA", "CreateToolhelp32Snapshot", "AdjustTokenPrivileges", "WSAStartup", "GetProcAddress", "LoadLibraryA",
    ];

    private static readonly string[] Code =
    [
        "55 8B EC", "83 EC ??", "8B 45 ??", "FF 15 ?? ?? ?? ??", "68 ?? ?? ?? ??", "E8 ?? ?? ?? ??", "85 C0", "74 ??", "0F 84 ?? ?? ?? ??", "33 C0", "5D C3", "8B 4D ??", "89 45 ??",
        "50", "51", "6A 00", "48 8B C4", "48 89 5C 24 ??", "48 83 EC ??", "4C 8B ??", "0F B6 ??", "C1 E8 ??", "03 C1", "3B C8", "72 ??", "EB ??", "8D 4C 24 ??", "66 89 ??", "C7 45 ?? ?? ?? ?? ??",
    ];

    private static readonly (string Name, string Strings, string Condition)[] Common =
    [
        ("url_many", "$a = /https?:\\/\\/[a-z0-9.-]{4,60}\\.(com|net|org|io)\\/[a-z0-9]{2,}/ nocase", "#a > 20"),
        ("ip_address", "$a = /\\b(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9][0-9])(\\.[0-9]{2,3}){3}\\b/", "#a > 5 and filesize < 300KB"),
        ("aes_sbox", "$a = { 63 7C 77 7B F2 6B 6F C5 30 01 67 2B FE D7 AB 76 }", "$a"),
        ("sha256_constants", "$a = { 98 2F 8A 42 91 44 37 71 CF FB C0 B5 } $b = { 42 8A 2F 98 71 37 44 91 B5 C0 FB CF }", "any of them"),
        ("md5_init", "$a = { 01 23 45 67 89 AB CD EF FE DC BA 98 76 54 32 10 }", "$a"),
        ("crc32_table", "$a = { 00 00 00 00 96 30 07 77 2C 61 0E EE BA 51 09 99 }", "$a"),
        ("base64_table", "$a = \"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\" ascii wide", "$a"),
        ("private_key", "$a = \"-----BEGIN RSA PRIVATE KEY-----\" $b = \"-----BEGIN PRIVATE KEY-----\"", "any of them and filesize < 20KB"),
        ("zlib_inside", "$a = \" inflate 1.\" $b = \" deflate 1.\"", "any of them"),
        ("packed_upx", "$a = \"UPX!\" $b = \"UPX0\" fullword $c = \"UPX1\" fullword", "(uint16(0) == 0x5A4D or uint32(0) == 0x464C457F) and 2 of them"),
        ("elf_shell_user", "$a = \"/bin/sh\" fullword $b = \"/dev/null\" $c = \"/proc/self/exe\"", "uint32(0) == 0x464C457F and filesize < 4MB and all of them"),
        ("elf_network_tool", "$a = \"getaddrinfo\" fullword $b = \"setsockopt\" fullword $c = \"execve\" fullword", "uint32(0) == 0x464C457F and all of ($a,$b,$c)"),
        ("script_downloads", "$a = \"curl \" $b = \"wget \" $c = /\\|\\s*(ba)?sh\\b/", "uint16(0) == 0x2123 and ($a or $b) and $c"),
        ("python_exec", "$a = \"subprocess.Popen\" $b = \"base64.b64decode\" $c = \"exec(\"", "2 of them and filesize < 1MB"),
        ("javascript_eval", "$a = \"eval(\" nocase $b = \"unescape(\" nocase $c = \"fromCharCode\" nocase", "all of them and filesize < 2MB"),
        ("dotnet_reflection", "$a = \"System.Reflection.Emit\" $b = \"DynamicMethod\" $c = \"VirtualProtect\" ascii wide", "uint16(0) == 0x5A4D and 2 of them"),
        ("many_sections", "$a = \".text\" $b = \".data\"", "uint16(0) == 0x5A4D and pe.number_of_sections > 4 and any of them"),
        ("high_entropy_program", "$a = \"This program cannot be run in DOS mode\"", "$a and math.entropy(0, filesize) > 6.9"),
        ("archive_with_classes", "$a = \"META-INF/MANIFEST.MF\" $b = /[a-z]{3,20}\\.class/", "uint32be(0) == 0x504B0304 and $a and #b > 10"),
        ("elf_no_sections", "$a = \"GCC: (\"", "elf.type == elf.ET_EXEC and not $a"),
    ];

    private static readonly string[] Seldom = ["ip_address", "private_key", "elf_shell_user", "python_exec", "high_entropy_program"];

    private readonly Random _random = new(seed);
    private int _number;

    public string Write(int count)
    {
        var text = new StringBuilder("import \"pe\"\nimport \"elf\"\nimport \"math\"\nimport \"hash\"\n");
        for (int i = 0; i < count; i++, _number++)
        {
            if (_number < Common.Length && (!fewAreCommon || Seldom.Contains(Common[_number].Name)))
            {
                (string name, string strings, string condition) = Common[_number];
                Rule(text, "common_" + name, [.. strings.Split(" $").Select((s, n) => n == 0 ? s : "$" + s)], condition);
                continue;
            }

            switch (_random.Next(100))
            {
                case < 36: WindowsFamily(text); break;
                case < 48: CodeOnly(text); break;
                case < 58: LinuxFamily(text); break;
                case < 72: WebShell(text); break;
                case < 82: Script(text); break;
                case < 88: Document(text); break;
                case < 96: Modules(text); break;
                default: Text(text); break;
            }
        }

        return text.ToString();
    }

    /// <summary>None about things that many files have: as a day's new rules are.</summary>
    public string WriteFamilies(int count)
    {
        _number = Math.Max(_number, Common.Length);
        return Write(count);
    }

    private void WindowsFamily(StringBuilder text)
    {
        List<string> strings = [];
        int own = 3 + _random.Next(6);
        for (int i = 1; i <= own; i++)
        {
            strings.Add($"$s{i} = {Quoted(OwnText())}{Pick(" fullword ascii", " wide", " ascii wide", " fullword wide", " nocase", "")}");
        }

        int calls = _random.Next(4);
        for (int i = 1; i <= calls; i++)
        {
            strings.Add($"$a{i} = {Quoted(Calls[_random.Next(Calls.Length)])}{Pick(" fullword ascii", "", " ascii")}");
        }

        int code = _random.Next(3);
        for (int i = 1; i <= code; i++)
        {
            strings.Add($"$x{i} = {CodeBytes(4)}");
        }

        string needed = $"{Math.Max(2, own - 2)} of ($s*)";
        string with = calls > 0 ? $"({needed} and any of ($a*))" : needed;
        string any = code > 0 ? $"(1 of ($x*) or {with})" : with;
        Rule(text, "win_" + Pick("trojan", "ransom", "stealer", "loader", "apt", "rat") + "_" + Word(), strings, Pick(
            $"uint16(0) == 0x5A4D and filesize < {_random.Next(100, 4000)}KB and {any}",
            $"( uint16(0) == 0x5a4d and filesize < {_random.Next(100, 900)}KB and {any} ) or all of them",
            $"uint16(0) == 0x5A4D and uint32(uint32(0x3C)) == 0x00004550 and {any}",
            any));
    }

    private void CodeOnly(StringBuilder text)
    {
        List<string> strings = [];
        int count = 1 + _random.Next(4);
        for (int i = 1; i <= count; i++)
        {
            strings.Add($"$code_{i} = {CodeBytes(12)}");
        }

        Rule(text, "code_" + Word(), strings, Pick("uint16(0) == 0x5A4D and all of them", "uint16(0) == 0x5A4D and (all of ($code_*))", "any of them", "pe.is_pe and any of them"));
    }

    private void LinuxFamily(StringBuilder text)
    {
        List<string> strings = [];
        int count = 3 + _random.Next(4);
        for (int i = 1; i <= count; i++)
        {
            strings.Add($"$s{i} = {Quoted(Pick("/tmp/." + Word(), "stratum+tcp://" + Word() + ".pool", Word() + "-cnc connected", "/etc/cron.d/" + Word(), "[kworker/" + Word() + "]", "POST /" + Word() + "/gate HTTP/1.1", "attack_" + Word(), "busybox " + Word()))}{(_random.Next(40) == 0 ? " xor" : Pick("", " fullword", " ascii"))}");
        }

        Rule(text, "linux_" + Word(), strings, Pick("uint32(0) == 0x464c457f and 2 of them", "uint32be(0) == 0x7F454C46 and filesize < 2MB and any of them", "3 of them", "elf.machine == elf.EM_X86_64 and 2 of ($s*)"));
    }

    private void WebShell(StringBuilder text)
    {
        List<string> strings =
        [
            $"$f = {Pick("/(eval|assert)\\s*\\(\\s*(gzinflate|str_rot13|base64_decode)\\s*\\(/ nocase", "\"eval(base64_decode(\" nocase", "/\\$_(POST|GET|REQUEST|COOKIE)\\s*\\[\\s*['\"]" + Word() + "['\"]\\s*\\]/", "/preg_replace\\s*\\(\\s*['\"]\\/.{1,20}\\/e['\"]/ nocase")}",
            $"$n = {Quoted("$" + Word() + Pick("='b'.'as'.'e6'.'4';", " = create_function('',", "_shell_title = \"", "=str_replace('" + Word() + "','',"))}",
            $"$t = {Quoted("<title>" + Word() + " " + Pick("shell", "uploader", "mailer", "bypass") + "</title>")} nocase",
        ];
        Rule(text, "webshell_" + Pick("php", "jsp", "asp") + "_" + Word(), strings, Pick("2 of them", "filesize < 200KB and ($t or ($f and $n))", "uint32be(0) == 0x3C3F7068 and any of ($n,$t) and (filesize < 500KB or $f)", "$n or ($t and $f)"));
    }

    private void Script(StringBuilder text)
    {
        List<string> strings =
        [
            $"$a = {Pick("\"FromBase64String\" nocase ascii wide", "/powershell(\\.exe)?\\s+(-[a-z]+\\s+){1,4}[A-Za-z0-9+\\/=]{40,}/ nocase", "\"IEX (New-Object Net.WebClient)\" nocase", "\"WScript.Shell\" nocase", "\"Invoke-Expression\" nocase wide ascii")}",
            $"$b = {Quoted("function " + Word() + Word() + "(" + Word() + ")")} nocase",
            $"$c = {Quoted("http://" + Word() + Word() + "." + Pick("top", "xyz", "ru", "su") + "/" + Word() + ".ps1")}",
        ];
        Rule(text, "script_" + Word(), strings, Pick("$a and 1 of ($b,$c)", "filesize < 1MB and 2 of them", "any of ($b,$c) or #a > 200"));
    }

    private void Document(StringBuilder text)
    {
        List<string> strings = [$"$m = {Quoted(Pick("AutoOpen", "Document_Open", "Workbook_Open", "\\objupdate", "/OpenAction"))} nocase", $"$w = {Quoted(OwnText())} ascii wide", $"$x = {CodeBytes(4)}"];
        Rule(text, "doc_" + Word(), strings, Pick("uint32be(0) == 0xD0CF11E0 and $m and any of ($w,$x)", "uint32be(0) == 0x25504446 and all of them", "uint32be(0) == 0x7B5C7274 and 2 of them", "(uint32be(0) == 0x504B0304 or uint32be(0) == 0xD0CF11E0) and 2 of them"));
    }

    private void Modules(StringBuilder text) => Rule(text, "module_" + Word(), [], Pick(
        $"pe.imphash() == \"{Hex(16)}\"",
        $"uint16(0) == 0x5A4D and filesize < 2MB and hash.md5(0, filesize) == \"{Hex(16)}\"",
        $"filesize == {_random.Next(10_000, 900_000)} and hash.sha256(0, filesize) == \"{Hex(32)}\"",
        $"pe.number_of_sections == {_random.Next(3, 9)} and pe.sections[0].name == \".{Word()[..3]}\"",
        $"pe.exports(\"{Word()}Loader\") or pe.exports(\"Reflective{Word()}\")",
        $"uint16(0) == 0x5A4D and pe.version_info[\"OriginalFilename\"] contains \"{Word()}.exe\"",
        $"uint16(0) == 0x5A4D and for any i in (0 .. pe.number_of_sections - 1) : (pe.sections[i].name == \".{Word()[..4]}\" and math.entropy(pe.sections[i].raw_data_offset, pe.sections[i].raw_data_size) > 7.5)",
        $"pe.is_dll() and pe.imports(\"{Pick("ws2_32.dll", "wininet.dll", "advapi32.dll")}\", \"{Calls[_random.Next(Calls.Length)]}\") and pe.timestamp == {_random.Next(1_000_000_000, 1_600_000_000)}",
        $"elf.type == elf.ET_EXEC and elf.number_of_sections == {_random.Next(1, 4)} and filesize < 90KB",
        $"uint32(0) == 0x464C457F and for any i in (0 .. elf.number_of_sections - 1) : (elf.sections[i].name == \".{Word()}\")",
        $"pe.overlay.size > {_random.Next(5, 50)}MB and pe.number_of_resources > {_random.Next(20, 200)}"));

    private void Text(StringBuilder text)
    {
        string mail = Word() + "@" + Word() + Pick(".onion", ".cock.li", ".tutanota.com");
        List<string> strings = [$"$a = {Quoted("Your files " + Pick("have been", "are now", "were") + " encrypted by " + Word())} nocase ascii wide", $"$b = {Quoted(mail)} ascii wide", $"$c = /{Word()}\\.onion\\/[a-z0-9]{{8,16}}/"];
        Rule(text, "note_" + Word(), strings, Pick("2 of them", "any of them", "filesize < 50KB and any of them", "$a and ($b or #c >= 2)", "($a and @a < 2000) or 2 of them"));
    }

    /// <param name="condition">Names every string: libyara refuses others.</param>
    private void Rule(StringBuilder text, string name, List<string> strings, string condition)
    {
        text.Append(CultureInfo.InvariantCulture, $"rule {name}_{_number}\n{{\n  meta:\n    description = \"benchmark rule\"\n    score = {_random.Next(40, 100)}\n");
        if (strings.Count > 0)
        {
            text.Append("  strings:\n");
            strings.ForEach(s => text.Append("    ").Append(s).Append('\n'));
        }

        text.Append(CultureInfo.InvariantCulture, $"  condition:\n    {condition}\n}}\n");
    }

    /// <summary>Code with operands left open, held together by one constant that makes it this family's own.</summary>
    private string CodeBytes(int pieces)
    {
        var text = new StringBuilder("{ ");
        int count = pieces + _random.Next(pieces);
        int constant = _random.Next(count);
        for (int i = 0; i < count; i++)
        {
            text.Append(i == constant ? $"{Pick("B8", "BA", "68", "3D")} {_random.Next(256):X2} {_random.Next(256):X2} {_random.Next(256):X2} {_random.Next(256):X2} " : Code[_random.Next(Code.Length)] + " ");
            bool inside = i < count - 1;
            text.Append((inside ? _random.Next(14) : 0) switch { 1 => "[2-6] ", 2 => "[4-20] ", 3 => "( 50 | 51 | 8B ?? ) ", _ => "" });
        }

        return text.Append('}').ToString();
    }

    private string OwnText() => Pick(
        $"C:\\Users\\{Word()}\\source\\{Word()}\\Release\\{Word()}.pdb",
        $"\\AppData\\Roaming\\{Word()}\\{Word()}.exe",
        $"Software\\Microsoft\\Windows\\CurrentVersion\\Run\\{Word()}",
        $"Global\\{Word()}-{_random.Next(1000, 9999)}",
        $"Mozilla/5.0 (compatible; {Word()}/{_random.Next(1, 9)}.0)",
        $"cmd.exe /c ping 127.0.0.1 -n {_random.Next(2, 9)} & del {Word()}",
        $"{Word()}_{Word()}",
        $"/{Word()}/{Word()}.php?id=%s&v=%d",
        $"[{Word()}] {Word()} failed: %08x",
        Word() + Word() + ".dll",
        $"%s\\{Word()}.tmp");

    private string Word() => string.Concat(Enumerable.Range(0, 3 + _random.Next(2)).Select(_ => Syllables[_random.Next(Syllables.Length)]));

    private string Hex(int bytes)
    {
        byte[] value = new byte[bytes];
        _random.NextBytes(value);
        return Convert.ToHexStringLower(value);
    }

    private string Pick(params string[] choices) => choices[_random.Next(choices.Length)];

    private static string Quoted(string text) => "\"" + text.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal) + "\"";
}
