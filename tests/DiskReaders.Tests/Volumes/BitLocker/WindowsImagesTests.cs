using System.Security.Cryptography;
using System.Text;
using Vmsweep.DiskReaders.Blocks;
using Vmsweep.DiskReaders.Volumes;
using static Vmsweep.DiskReaders.Tests.Volumes.BitLocker.BitLockerImages;

namespace Vmsweep.DiskReaders.Tests.Volumes.BitLocker;

[Trait("Category", "Slow")]
public sealed class WindowsImagesTests(WindowsImages images) : IClassFixture<WindowsImages>
{
    [Theory]
    [InlineData("bitlk-aes-cbc-128", "cbc-aes-128")]
    [InlineData("bitlk-aes-cbc-256", "cbc-aes-256")]
    [InlineData("bitlk-aes-cbc-128-4k", "cbc-aes-128")]
    [InlineData("bitlk-aes-cbc-elephant-128", "cbc-aes-128-elephant")]
    [InlineData("bitlk-aes-cbc-elephant-256", "cbc-aes-256-elephant")]
    [InlineData("bitlk-aes-xts-128", "xts-aes-128")]
    [InlineData("bitlk-aes-xts-256", "xts-aes-256")]
    [InlineData("bitlk-aes-xts-128-4k", "xts-aes-128")]
    [InlineData("bitlk-aes-xts-128-new-entry", "xts-aes-128")]
    [InlineData("bitlk-aes-xts-128-smart-card", "xts-aes-128")]
    [InlineData("bitlk-aes-xts-128-startup-key", "xts-aes-128")]
    [InlineData("bitlk-aes-xts-128-startup-key-win11", "xts-aes-128")]
    [InlineData("bitlk-togo-aes-cbc-128", "cbc-aes-128")]
    [InlineData("bitlk-togo-aes-xts-128", "xts-aes-128")]
    public void A_volume_that_windows_encrypted_equals_what_the_kernel_reads_by_every_protector(string image, string layout)
    {
        List<byte[]> secrets = [Encoding.ASCII.GetBytes(images.Fact(image, "RP"))];
        if (images.Fact(image, "PW") is { Length: > 0 } password)
        {
            secrets.Add(Encoding.ASCII.GetBytes(password));
        }

        if (images.KeyFile(image) is { } keyFile)
        {
            secrets.Add(keyFile);
        }

        foreach (byte[] secret in secrets)
        {
            (AssembledVolume volume, string sha256, IReadOnlyList<CoverageGap> gaps) = Read(image, secret);
            Assert.Equal((layout, images.Fact(image, "SHA256SUM")), (volume.Layout, sha256));
            Assert.Empty(gaps);
        }
    }

    [Fact]
    public void Every_image_of_the_package_names_its_protectors_while_it_is_locked()
    {
        Assert.True(images.Names.Count >= 16);
        foreach (string image in images.Names.Where(n => !n.Contains("clearkey", StringComparison.Ordinal)))
        {
            string detail = Read(image).Volume.Fault!.Detail;
            foreach (string id in (string[])["PW_VMK_GUID", "RP_VMK_GUID", "SK_VMK_GUID", "SC_VMK_GUID"])
            {
                Assert.Contains(images.Fact(image, id), detail, StringComparison.OrdinalIgnoreCase);
            }
        }
    }

    [Theory]
    [InlineData("bitlk-clearkey-aes-cbc-128", true)]
    [InlineData("bitlk-aes-xts-128-eow", false)]
    public void A_volume_whose_block_maps_are_gone_is_read_and_reported(string image, bool isSuspended)
    {
        // The package keeps only what cryptsetup looks at: its Encrypt-on-Write structures are zeros.
        (AssembledVolume volume, string sha256, IReadOnlyList<CoverageGap> gaps) = Read(image, isSuspended ? [] : [Encoding.ASCII.GetBytes(images.Fact(image, "RP"))]);
        Assert.NotEmpty(sha256);
        Assert.Equal((Fault.Corrupt, "FVE-EOW"), (gaps[0].Fault, gaps[0].Structure));
        Assert.Equal(isSuspended, volume.Notes.Any(n => n.Contains("suspended", StringComparison.Ordinal)));
    }

    private (AssembledVolume Volume, string Sha256, IReadOnlyList<CoverageGap> Gaps) Read(string image, params byte[][] secrets)
    {
        var budget = new ScanBudget(8 << 20);
        var gaps = new GapList();
        using var source = new FileSource(images.PathOf(image));
        string sha256 = "";
        AssembledVolume volume = Open(source, Context(budget, gaps, secrets));
        using (volume)
        {
            if (volume.Content is { } content)
            {
                byte[] buffer = new byte[1 << 20];
                using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
                for (long at = 0; at < content.Length; at += buffer.Length)
                {
                    Span<byte> part = buffer.AsSpan(0, (int)Math.Min(buffer.Length, content.Length - at));
                    content.Read(at, part);
                    hash.AppendData(part);
                }

                // Of the half converted one, the first sectors were not encrypted yet, which only its maps told.
                Assert.True(image.EndsWith("-eow", StringComparison.Ordinal) || content.HasAt(3, "NTFS    "u8) || content.HasAt(82, "FAT32"u8) || content.HasAt(54, "FAT"u8));
                sha256 = Convert.ToHexStringLower(hash.GetHashAndReset());
            }
        }

        Assert.Equal(0, budget.InUse);
        return (volume, sha256, gaps.ToList());
    }
}
