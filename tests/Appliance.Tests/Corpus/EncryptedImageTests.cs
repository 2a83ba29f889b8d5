using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Containers;
using Vmsweep.DiskReaders.Inspection;
using Vmsweep.Golden;

namespace Vmsweep.Appliance.Tests.Corpus;

/// <summary>Encrypted images of the corpus, opened with what its description says opens them.</summary>
public sealed class EncryptedImageTests
{
    [Fact]
    public void A_qcow2_under_the_old_AES_method_equals_the_same_disk_without_encryption()
    {
        Assert.SkipUnless(CorpusImages.IsThere, $"there is no corpus at {CorpusImages.Folder}; VMSWEEP_CORPUS names it");
        CorpusImage encrypted = CorpusImages.All().Single(i => i.Id == "sc-qcow2-aes");
        CorpusImage plain = CorpusImages.All().Single(i => i.Id == "sc-qcow2");
        using var scratch = new Scratch();
        string path = CorpusImages.Unpack(encrypted, scratch.Folder);
        Assert.Equal(plain.RawSha256, Sha256(path, "other", "Yuvraj"));
        Assert.Equal(Fault.Encrypted, Assert.Throws<DiskFormatException>(() => Sha256(path)).Fault);
        Assert.Equal(Fault.Encrypted, Assert.Throws<DiskFormatException>(() => Sha256(path, "yuvraj")).Fault);
    }

    private static string Sha256(string path, params string[] secrets)
    {
        var context = new ReadContext(new ScanBudget(64 << 20), new GapList()) { Secrets = new UnlockSecrets([.. secrets.Select(System.Text.Encoding.UTF8.GetBytes)]) };
        using var chain = new ChainOpener(InProcess.Disk(path).Plan, context);
        using VirtualDisk disk = chain.OpenDisk();
        return disk.Content.Sha256();
    }
}
